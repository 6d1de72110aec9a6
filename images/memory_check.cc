#include "images/memory_check.h"

#include <algorithm>
#include <charconv>

#include "core/base/error.h"
#include "images/format.h"

namespace mcr::images {

void check_shared_runs(const PageUse& use, uint64_t page_size) {
  for (const auto& run : use.shared_runs) {
    const auto found = use.shared_sizes.find(run.id);
    const uint64_t size = found == use.shared_sizes.end() ? 0 : found->second;
    // The last page of an object is stored whole, even when the object ends inside it.
    const uint64_t limit = size > UINT64_MAX - page_size ? size : (size + page_size - 1) / page_size * page_size;
    if (run.start > limit || run.bytes > limit - run.start)
      throw Error(Fault::image, fmt::format("{} lies outside shared memory {} of {} bytes", run.owner, run.id, size),
                  "the image is damaged: use another copy");
  }
}

namespace {

// "mm-12.img": 12. What is named otherwise is of no process.
int32_t pid_of(const std::string& name) {
  int32_t pid = 0;
  if (name.starts_with("mm-")) std::from_chars(name.data() + 3, name.data() + name.size(), pid);
  return pid;
}

}  // namespace

MemoryCheck::MemoryCheck(std::string name, uint64_t page_size, PageUse& use)
    : name_(std::move(name)), page_size_(page_size), pid_(pid_of(name_)), use_(use) {}

void MemoryCheck::require_map(uint64_t record) const {
  if (!has_map_) throw_damaged(name_, record, "a mapping or run before the MemoryMap that it belongs to");
}

void MemoryCheck::add(const image::MemoryMap& map, uint64_t record) {
  if (has_map_) throw_damaged(name_, record, "a second MemoryMap");
  has_map_ = true;
  map_ = map;
}

void MemoryCheck::add(const image::Vma& vma, uint64_t record) {
  require_map(record);
  if (vma.start() >= vma.end() || vma.start() < last_vma_end_ || (vma.start() | vma.end()) % page_size_ != 0)
    throw_damaged(name_, record, fmt::format("impossible mapping {:#x}-{:#x}", vma.start(), vma.end()));
  last_vma_end_ = vma.end();
  ++vmas_;
  if (!mapped_.empty() && mapped_.back().end == vma.start())
    mapped_.back().end = vma.end();
  else
    mapped_.push_back({vma.start(), vma.end()});
}

bool MemoryCheck::is_mapped(uint64_t start, uint64_t end) const {
  auto after = std::upper_bound(mapped_.begin(), mapped_.end(), start,
                                [](uint64_t address, const Range& range) { return address < range.start; });
  return after != mapped_.begin() && end <= std::prev(after)->end;
}

void MemoryCheck::add(const image::PageRun& run, uint64_t record) {
  require_map(record);
  const std::string owner = fmt::format("the run at {:#x}{} of {}", run.start(),
                                        run.shared() ? fmt::format(" of shared memory {}", run.shared()) : "", name_);
  if (run.bytes() == 0 || run.bytes() > UINT64_MAX - run.start() ||
      (run.start() | run.bytes() | run.offset()) % page_size_ != 0)
    throw_damaged(name_, record, fmt::format("{} has impossible numbers", owner));
  const uint64_t end = run.start() + run.bytes();
  if (run.shared()) {
    use_.shared_runs.push_back({run.shared(), run.start(), run.bytes(), owner});
  } else {
    if (run.start() < last_run_end_) throw_damaged(name_, record, fmt::format("{} overlaps the one before", owner));
    if (!is_mapped(run.start(), end)) throw_damaged(name_, record, fmt::format("{} lies in no mapping", owner));
    last_run_end_ = end;
  }
  ++runs_;
  if (run.source() != image::PageRun::FILE ||
      run.chunk_streams_size() + run.chunk_offsets_size() + run.chunk_stored_size() != 0)
    use_.other_runs.push_back({{pid_, map_.pages_file()}, run, owner});
  const bool is_repeated = run.source() == image::PageRun::REPEATED && !is_in_stream(run);
  if (run.source() == image::PageRun::FILE || is_repeated)
    use_.extents[map_.pages_file()].push_back({run.offset(),
                                               is_repeated ? page_size_ : run.bytes(),
                                               run.chunk_bytes(),
                                               {run.checksums().begin(), run.checksums().end()},
                                               owner,
                                               is_repeated});
}

// That the parent has them is seen when all processes are known (verify_records of the engine).
void MemoryCheck::add(const image::InheritedPages& pages, uint64_t record) {
  require_map(record);
  const uint64_t end = pages.start() + pages.bytes();
  if (pages.bytes() == 0 || end < pages.start() || (pages.start() | pages.bytes()) % page_size_ != 0 ||
      pages.start() < last_inherited_end_ || !is_mapped(pages.start(), end))
    throw_damaged(name_, record, fmt::format("the inherited pages at {:#x} have impossible numbers", pages.start()));
  last_inherited_end_ = end;
  ++inherited_;
}

void MemoryCheck::finish() const {
  if (!has_map_) return;
  if (map_.inherited_count() != inherited_)
    throw_damaged(name_, kHeaderBytes,
                  fmt::format("{} stretches of inherited pages, but the MemoryMap counts {}", inherited_,
                              map_.inherited_count()));
  if (map_.vma_count() != vmas_ || map_.run_count() != runs_)
    throw_damaged(name_, kHeaderBytes,
                  fmt::format("{} mappings and {} runs, but the MemoryMap counts {} and {}", vmas_, runs_,
                              map_.vma_count(), map_.run_count()));
}

}  // namespace mcr::images
