// The pages file of one process of a merged image: what is stored, page by page, and the runs that say so. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/base/unique_fd.h"
#include "images/page_content.h"
#include "images/proto/mm.pb.h"

namespace mcr::images {

class MergedPages {
 public:
  // fd: of an empty pages file, its header written. `page_size` divides kChunkBytes.
  MergedPages(UniqueFd fd, uint64_t page_size);
  ~MergedPages();

  // A run of the merged image begins here: no run reaches over its start, for a run lies in one mapping.
  void begin(uint32_t shared);
  // The content of `bytes` bytes from `start` on, which that run has; not of source PARENT. In address order.
  void append(const PageContent& content, const MemoryOwner& owner, const image::PageRun& run, uint64_t start,
              uint64_t bytes);
  std::vector<image::PageRun> take_runs();  // since the last time
  void forget();                            // what was stored before is not looked for any more

  int fd() const { return fd_.get(); }
  uint64_t stored() const;    // bytes, without the header
  uint64_t repeated() const;  // bytes that are not stored, as another page has the same

 private:
  void add_zeros(uint64_t start, uint64_t bytes);
  void add_repeated(uint64_t start, uint64_t bytes, uint64_t offset, uint64_t checksum);
  void add_data(uint64_t start, std::span<const std::byte> data);
  void split(uint64_t start, std::span<const std::byte> data);
  std::optional<uint64_t> find(uint64_t hash, std::span<const std::byte> page) const;
  void note(uint64_t hash, uint64_t offset);
  image::PageRun& fresh_run(image::PageRun::Source source, uint64_t start, uint64_t bytes);
  // The last run, if what comes at `start` may continue it.
  image::PageRun* last(image::PageRun::Source source, uint64_t start);

  UniqueFd fd_;
  uint64_t page_size_, end_;
  uint64_t repeated_ = 0;
  uint32_t shared_ = 0;
  bool begins_ = true;
  std::vector<image::PageRun> runs_;
  std::unordered_map<uint64_t, uint64_t> seen_;  // hash: offset of the page
};

}  // namespace mcr::images
