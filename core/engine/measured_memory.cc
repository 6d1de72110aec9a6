#include "core/engine/measured_memory.h"

#include <sys/sysmacros.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/mem/aio_ring.h"
#include "core/sys/file.h"
#include "core/sys/memory_object.h"
#include "core/sys/pagemap.h"

namespace mcr::engine {
namespace {

constexpr uint64_t kPage = 4096, kFrame = (uint64_t{1} << 55) - 1, kPresent = uint64_t{1} << 63;
constexpr size_t kMostFrames = 8 << 20;  // of 32 GiB; of more it is not asked what relatives share

bool is_the_kernels(const procfs::Mapping& m) {
  return m.path == "[vsyscall]" || m.path == "[vdso]" || m.path.starts_with("[vvar");
}

std::string door_of(HostPid view, const procfs::Mapping& m) {
  return fmt::format("/proc/{}/map_files/{:x}-{:x}", view, m.start, m.end);
}

}  // namespace

uint64_t MeasuredMemory::add(HostPid view, const std::vector<procfs::Mapping>& mappings) {
  const sys::Pagemap pagemap(view);
  std::vector<sys::PageRange> ranges, guards;
  for (const procfs::Mapping& m : mappings) {
    if (is_the_kernels(m)) continue;
    if (m.shared)
      add_shared(view, m);
    else
      pagemap.private_pages(m.start, m.end, ranges, guards);
  }
  uint64_t bytes = 0;
  for (const sys::PageRange& range : ranges) {
    bytes += range.end - range.start;
    if (frames_.size() + (range.end - range.start) / kPage > kMostFrames) {
      unknown_bytes_ += range.end - range.start;
      continue;
    }
    for (const uint64_t word : pagemap.words(range.start, range.end))
      if ((word & kPresent) && (word & kFrame))
        frames_.push_back(word & kFrame);
      else
        unknown_bytes_ += kPage;  // swapped, or not shown
  }
  private_bytes_ += bytes;
  ++processes_;
  return bytes;
}

// Shared memory that has no name; a file that has one keeps its content itself.
void MeasuredMemory::add_shared(HostPid view, const procfs::Mapping& m) {
  const dev_t device = makedev(m.device_major, m.device_minor);
  if (m.inode == 0 || mem::is_aio_ring(m) || !m.deleted) return;
  if (!seen_.insert({device, m.inode}).second) return;
  const auto status = sys::try_stat(door_of(view, m));
  const uint64_t bytes = status ? static_cast<uint64_t>(status->st_blocks) * 512 : m.size();
  (sys::is_kernel_memory(device) ? shared_bytes_ : file_bytes_) += bytes;
}

void MeasuredMemory::add_file(const kinds::FileView& file) {
  const bool has_content = S_ISREG(file.status.st_mode) && (file.deleted || file.link.starts_with("/memfd:"));
  if (!has_content || !seen_.insert({file.status.st_dev, file.status.st_ino}).second) return;
  file_bytes_ += static_cast<uint64_t>(file.status.st_blocks) * 512;
}

void MeasuredMemory::finish(Amounts& amounts) {
  amounts.private_bytes = private_bytes_;
  if (processes_ > 1) {
    std::ranges::sort(frames_);
    const auto behind = std::unique(frames_.begin(), frames_.end());
    amounts.private_bytes = unknown_bytes_ + static_cast<uint64_t>(behind - frames_.begin()) * kPage;
  }
  amounts.shared_bytes = shared_bytes_;
  amounts.file_bytes = file_bytes_;
}

}  // namespace mcr::engine
