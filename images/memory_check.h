// Do the records of one mm-PID.img fit together? Fed record by record. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "images/page_content.h"
#include "images/page_extents.h"
#include "images/proto/mm.pb.h"

namespace mcr::images {

// Of the whole image, gathered from all its files.
struct PageUse {
  std::map<std::string, std::vector<PageExtent>> extents;  // by pages file
  std::map<uint32_t, uint64_t> shared_sizes;               // by object id
  struct SharedRun {
    uint32_t id;
    uint64_t start, bytes;
    std::string owner;
  };
  std::vector<SharedRun> shared_runs;
  struct OtherRun {  // whose bytes are not simply those at its place in the pages file
    MemoryOwner owner;
    image::PageRun run;
    std::string text;  // for messages
  };
  std::vector<OtherRun> other_runs;
};

// After all files: shared memory that is written about must exist and be large enough.
void check_shared_runs(const PageUse& use, uint64_t page_size);

class MemoryCheck {
 public:
  MemoryCheck(std::string name, uint64_t page_size, PageUse& use);
  void add(const image::MemoryMap& map, uint64_t record);  // `record`: its offset, for messages
  void add(const image::Vma& vma, uint64_t record);
  void add(const image::PageRun& run, uint64_t record);
  void add(const image::InheritedPages& pages, uint64_t record);
  void finish() const;  // the counts

 private:
  struct Range {
    uint64_t start, end;
  };
  bool is_mapped(uint64_t start, uint64_t end) const;
  void require_map(uint64_t record) const;

  std::string name_;
  uint64_t page_size_;
  int32_t pid_;
  PageUse& use_;
  bool has_map_ = false;
  image::MemoryMap map_;
  std::vector<Range> mapped_;  // neighbouring mappings joined
  uint64_t vmas_ = 0, runs_ = 0, inherited_ = 0, last_vma_end_ = 0, last_run_end_ = 0, last_inherited_end_ = 0;
};

}  // namespace mcr::images
