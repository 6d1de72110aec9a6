#include "core/mem/page_room.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <future>

#include "core/base/aside.h"
#include "core/base/error.h"

namespace mcr::mem {

void HeldPages::read(uint64_t address, std::span<std::byte> to) const {
  const auto behind = std::ranges::upper_bound(sources_, address, {}, &PageSource::start);
  const auto index = static_cast<size_t>(behind - sources_.begin()) - 1;
  if (behind == sources_.begin() || address + to.size() > sources_[index].start + sources_[index].bytes)
    throw Error(Fault::internal, fmt::format("the pages at {:#x} were not copied", address));
  std::memcpy(to.data(), kept_[index] + (address - sources_[index].start), to.size());
}

PageRoom::PageRoom(uint64_t bytes) : bytes_(bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    bytes_ = 0;
    return;
  }
  memory_ = static_cast<std::byte*>(memory);
  ::madvise(memory, bytes, MADV_HUGEPAGE);
  ::madvise(memory, bytes, MADV_POPULATE_WRITE);  // 5.14; without it the pages come one by one, later
}

PageRoom::~PageRoom() {
  if (memory_) ::munmap(memory_, bytes_);
}

// By two threads: while the program stands still there is a processor for the other one.
std::optional<HeldPages> PageRoom::take(const trace::RemoteMemory& memory, std::vector<PageSource> sources) {
  HeldPages held;
  uint64_t end = used_;
  held.kept_.reserve(sources.size());
  for (const PageSource& source : sources) {
    if (source.bytes > bytes_ - end) return std::nullopt;
    held.kept_.push_back(memory_ + end);
    end += source.bytes;
  }
  held.sources_ = std::move(sources);
  const auto copy = [&](size_t first, size_t last) {
    for (size_t i = first; i < last; ++i) {
      const PageSource& source = held.sources_[i];
      read_pages(memory, source.start, {memory_ + (held.kept_[i] - memory_), static_cast<size_t>(source.bytes)});
    }
  };
  constexpr uint64_t kWorthAThread = 1 << 20;
  std::future<void> other;
  size_t middle = 0;
  if (end - used_ >= kWorthAThread && held.sources_.size() > 1) {
    const std::byte* half = memory_ + used_ + (end - used_) / 2;
    middle = static_cast<size_t>(std::ranges::lower_bound(held.kept_, half) - held.kept_.begin());
    other = begin_aside(copy, size_t{0}, middle);
  }
  copy(middle, held.sources_.size());
  if (other.valid()) other.get();
  used_ = end;
  return held;
}

}  // namespace mcr::mem
