// What of the content of pages is zeros, or came before, and is not stored again; what is left, and where it lies. A
// page that came before is found by a few of its words and compared with what is stored. Several threads at once, each
// with a Sight of its own.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "core/base/page_buffer.h"
#include "core/mem/page_dedup.h"
#include "core/mem/second_file.h"
#include "images/proto/mm.pb.h"

namespace mcr::mem {

class PageSplit {
 public:
  struct Segment {  // FILE, STREAMS: it lies at `place`; REPEATED: the page that it has lies there
    mcr::image::PageRun::Source source;
    uint64_t start, bytes;
    StoredPage place;
    uint64_t checksum;
  };
  using Segments = std::vector<Segment>;
  struct Sight {  // the page that was compared with most recently
    StoredPage place;
    uint64_t checksum = 0;
    PageBuffer content;
  };
  // A page of the program as it is, false: it cannot be read.
  using ReadPage = std::function<bool(uint64_t address, std::span<std::byte> out)>;

  // second: null when there is none.
  PageSplit(int pages_fd, SecondFile* second, ReadPage read);
  // How much will come at most; counts the first time.
  void expect(uint64_t bytes);
  // Content that lies, or is to lie, at `offset` of the pages file.
  Segments in_pages_file(std::span<const std::byte> content, uint64_t start, uint64_t offset, Sight& sight);
  // Content that is stored in the second file, what of it must be.
  Segments to_second_file(std::span<const std::byte> content, uint64_t start, Sight& sight);
  // As runs; begins: at the beginning of a mapping, which no run reaches over.
  static void append(std::vector<mcr::image::PageRun>& runs, bool begins, const Segments& segments);

 private:
  using Known = std::function<std::optional<Segment>(std::span<const std::byte> page, uint64_t at)>;
  using Keep = std::function<StoredPage(std::span<const std::byte> part, uint64_t at)>;
  Segments cut(std::span<const std::byte> content, uint64_t start, const Known& known, const Keep& keep);
  bool is_stored(const StoredPage& place, std::span<const std::byte> page, Sight& sight) const;
  std::optional<Segment> stored_alone(const StoredPage& seen, uint64_t key, std::span<const std::byte> page,
                                      uint64_t address, Sight& sight);

  const int pages_fd_;
  SecondFile* const second_;
  const ReadPage read_;
  std::optional<PageDedup> dedup_;
  std::atomic<uint64_t> cuts_ = 0;
};

}  // namespace mcr::mem
