// The memory of all processes of a dump as chunks in N files, written by several threads. Zeros are not stored; a page
// that comes often is stored once by itself besides its first place, which lies inside a chunk. Each chunk goes to the
// file that is the shortest at that moment. Made and used by one thread, which the others work for.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/mem/page_dedup.h"
#include "images/proto/mm.pb.h"
#include "images/store.h"

namespace mcr::mem {

enum class Compression { none, lz4 };

class PageStreams {
 public:
  // Makes the files in `writer`, which must outlive it: img-0.lz4 and so on, or img-0.img.
  PageStreams(images::ImageWriter& writer, unsigned count, Compression compression);

  struct Extent {  // of whole pages
    uint64_t start = 0, bytes = 0;
    bool readable = true;
  };
  // Fills the bytes from `at` on; called by several threads at once.
  using Read = std::function<void(const Extent& extent, uint64_t at, std::span<std::byte> out)>;
  // Stores them in order: one PageRun or more each.
  std::vector<mcr::image::PageRun> write(const std::vector<Extent>& extents, const Read& read);
  uint64_t pages_written() const { return stored_pages_; }
  // When all is written: enters the files into the image, and their names into the inventory.
  void finish(mcr::image::Inventory& inventory);

 private:
  struct Stream {
    std::string name;
    UniqueFd fd;
    uint64_t end = images::kPageFileHeader;
  };
  struct Chunk {
    const Extent* extent;
    uint64_t at, bytes;
  };
  struct Segment {
    mcr::image::PageRun::Source source;
    uint64_t start, bytes, checksum;
    StoredPage place;
  };
  struct Worker;
  void write_chunks(const std::vector<Chunk>& chunks, const Read& read, std::vector<std::vector<Segment>>& segments);
  std::vector<Segment> store_chunk(const Chunk& chunk, const Read& read, Worker& worker);
  std::optional<Segment> known(std::span<const std::byte> page, uint64_t address, Worker& worker);
  bool is_stored(const StoredPage& place, std::span<const std::byte> page, Worker& worker) const;
  StoredPage store(std::span<const std::byte> bytes, Worker& worker);
  StoredPage reserve(uint32_t bytes);

  images::ImageWriter& writer_;
  const Compression compression_;
  std::vector<Stream> streams_;
  PageDedup dedup_;
  std::mutex mutex_;  // of the ends of the streams
  std::atomic<uint64_t> cuts_ = 0, stored_pages_ = 0;
};

}  // namespace mcr::mem
