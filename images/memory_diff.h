// The mappings and pages of one process in two images. One thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "images/content_diff.h"
#include "images/kernel_writes.h"
#include "images/message_diff.h"
#include "images/page_content.h"
#include "images/proto/mm.pb.h"

namespace mcr::images {

// What one mm-PID.img holds.
struct MemoryRecords {
  int32_t pid = 0;
  image::MemoryMap map;
  std::vector<image::Vma> vmas;
  std::vector<image::PageRun> runs;
  std::vector<image::InheritedPages> inherited;
  const MemoryRecords* parent = nullptr;  // of the process that has them; one that comes before it in the inventory
};

// What each image has mapped in a range; the parts are cut to it. Neighbouring mappings that differ in nothing are one
// here: the kernel may join them or keep them apart.
struct MappingPair {
  uint64_t start, end;
  std::optional<image::Vma> a, b;
};
std::vector<MappingPair> pair_mappings(const std::vector<image::Vma>& a, const std::vector<image::Vma>& b);
std::string mapping_text(const image::Vma& vma);  // "private_anonymous rw- [heap]"

// The private pages of a process; `shared` != 0: those of one shared object.
// `pages` must outlive it.
Content content_of(const MemoryRecords& records, uint32_t shared, const std::string& owner, const PageContent& pages);

struct PageDifference {
  uint64_t first = 0, first_byte = 0;  // addresses
  uint64_t pages = 0;
  const char* reason = nullptr;  // null: it counts
};
struct DifferentRange {
  uint64_t start, end;
  PageDifference difference;
};
// Pages of private memory, gathered by mapping: for each those that count, and those that the kernel wrote.
std::vector<DifferentRange> compare_pages(const std::vector<image::Vma>& vmas, const Content& a, const Content& b,
                                          const std::vector<KernelWrite>& writes, uint64_t elapsed_ns);

}  // namespace mcr::images
