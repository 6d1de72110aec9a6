#include "core/sys/pagemap.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include "core/sys/failure.h"
#include "core/sys/file.h"

namespace mcr::sys {
namespace {

// linux/fs.h, 6.7
struct PmRegion {
  uint64_t start, end, categories;
};
struct PmScanArg {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, PmScanArg);
constexpr uint64_t kIsFile = 1 << 2, kIsPresent = 1 << 3, kIsSwapped = 1 << 4, kIsPfnZero = 1 << 5;

constexpr uint64_t kPage = 4096;

void append(std::vector<PageRange>& out, uint64_t start, uint64_t end) {
  if (!out.empty() && out.back().end == start)
    out.back().end = end;
  else
    out.push_back({start, end});
}

}  // namespace

Pagemap::Pagemap(HostPid pid) : fd_(open(fmt::format("/proc/{}/pagemap", pid), O_RDONLY)) {}

void Pagemap::private_pages(uint64_t start, uint64_t end, std::vector<PageRange>& out) const {
  scanned_ += (end - start) / kPage;
  if (has_scan_ && scan(start, end, out)) return;
  read_words(start, end, out);
}

bool Pagemap::scan(uint64_t start, uint64_t end, std::vector<PageRange>& out) const {
  std::vector<PmRegion> regions(512);
  while (start < end) {
    PmScanArg arg{};
    arg.size = sizeof arg;
    arg.start = start;
    arg.end = end;
    arg.vec = reinterpret_cast<uint64_t>(regions.data());
    arg.vec_len = regions.size();
    arg.category_mask = arg.category_inverted = kIsFile | kIsPfnZero;
    arg.category_anyof_mask = kIsPresent | kIsSwapped;
    arg.return_mask = kIsPresent;
    const int n = ::ioctl(fd_.get(), kPagemapScan, &arg);
    if (n < 0) {
      if (errno == EINTR) continue;
      has_scan_ = false;
      return false;
    }
    for (int i = 0; i < n; ++i) append(out, regions[static_cast<size_t>(i)].start, regions[static_cast<size_t>(i)].end);
    if (arg.walk_end <= start) break;
    start = arg.walk_end;
  }
  return true;
}

// Bit 63 present, 62 swapped, 61 page cache or shared. The zero page cannot be told from others without its frame
// number; it is stored then, which costs space and nothing else.
void Pagemap::read_words(uint64_t start, uint64_t end, std::vector<PageRange>& out) const {
  std::vector<uint64_t> words(4096);
  while (start < end) {
    const size_t count = std::min<uint64_t>(words.size(), (end - start) / kPage);
    const size_t got = pread_some(fd_.get(), words.data(), count * 8, start / kPage * 8) / 8;
    if (got == 0) return;
    for (size_t i = 0; i < got; ++i) {
      const bool here = words[i] >> 62 != 0, cached = (words[i] >> 61) & 1;
      if (here && !cached) append(out, start + i * kPage, start + (i + 1) * kPage);
    }
    start += got * kPage;
  }
}

}  // namespace mcr::sys
