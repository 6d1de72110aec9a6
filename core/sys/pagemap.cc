#include "core/sys/pagemap.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <span>

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
constexpr uint64_t kProtectMatching = 1;  // PM_SCAN_WP_MATCHING
constexpr uint64_t kIsWritten = 1 << 1;   // PAGE_IS_WRITTEN
constexpr uint64_t kIsFile = 1 << 2, kIsPresent = 1 << 3, kIsSwapped = 1 << 4, kIsPfnZero = 1 << 5;
constexpr uint64_t kIsGuard = 1 << 8;        // PAGE_IS_GUARD, 6.15; such a page is "swapped" too
constexpr uint64_t kGuardWord = 1ULL << 58;  // PM_GUARD_REGION in /proc/PID/pagemap, 6.15

constexpr uint64_t kPage = 4096;

void append(std::vector<PageRange>& out, uint64_t start, uint64_t end) {
  if (!out.empty() && out.back().end == start)
    out.back().end = end;
  else
    out.push_back({start, end});
}

}  // namespace

bool shows_guard_flag() {
  static const bool shown = [] {
    constexpr int kGuardInstall = 102;  // MADV_GUARD_INSTALL, 6.13
    void* page = ::mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return false;
    bool found = false;
    if (::madvise(page, kPage, kGuardInstall) == 0) {
      const std::string text = try_read_text("/proc/self/smaps").value_or("");
      const size_t at = text.find(fmt::format("\n{:x}-", reinterpret_cast<uint64_t>(page)));
      const size_t flags = at == std::string::npos ? at : text.find("\nVmFlags:", at);
      found = flags != std::string::npos &&
              text.substr(flags + 1, text.find('\n', flags + 1) - flags).find(" gu") != std::string::npos;
    }
    ::munmap(page, kPage);
    return found;
  }();
  return shown;
}

Pagemap::Pagemap(HostPid pid) : fd_(open(fmt::format("/proc/{}/pagemap", pid), O_RDONLY)) {}

void Pagemap::private_pages(uint64_t start, uint64_t end, std::vector<PageRange>& out,
                            std::vector<PageRange>& guards) const {
  scanned_ += (end - start) / kPage;
  Request request{kIsFile | kIsPfnZero, kIsPresent | kIsSwapped, kIsPresent | kIsGuard};
  if (has_scan_ && has_guards_ && scan(start, end, request, out, guards)) return;
  // A kernel before 6.15 refuses a category that it does not know, one before 6.7 everything.
  request.told = kIsPresent;
  if (has_scan_ && scan(start, end, request, out, guards)) {
    has_guards_ = false;
    return;
  }
  has_scan_ = false;
  read_words(start, end, out, guards);
}

bool Pagemap::written_pages(uint64_t start, uint64_t end, std::vector<PageRange>& out,
                            std::vector<PageRange>& guards) const {
  if (!has_scan_ || !has_guards_) return false;
  scanned_ += (end - start) / kPage;
  return scan(start, end, {kIsPfnZero, kIsPresent | kIsSwapped, kIsPresent | kIsGuard, kIsWritten}, out, guards);
}

void Pagemap::guard_pages(uint64_t start, uint64_t end, std::vector<PageRange>& guards) const {
  std::vector<PageRange> none;
  if (has_scan_ && has_guards_) has_guards_ = scan(start, end, {0, kIsGuard, kIsGuard}, none, guards);
}

// The kernel looks at nothing but the page tables when it is asked for what was written and for nothing else: a tenth
// of the time. What was not written is all that lies in between; a hole counts as written. Every 512 ranges it begins
// again a little before, and tells some twice.
bool Pagemap::unwritten_pages(uint64_t start, uint64_t end, std::vector<PageRange>& clean) const {
  std::vector<PmRegion> regions(4096);
  uint64_t next = start;  // nothing is known from here on
  for (uint64_t at = start; at < end;) {
    PmScanArg arg{};
    arg.size = sizeof arg;
    arg.start = at;
    arg.end = end;
    arg.vec = reinterpret_cast<uint64_t>(regions.data());
    arg.vec_len = regions.size();
    arg.category_mask = arg.return_mask = kIsWritten;
    const int n = ::ioctl(fd_.get(), kPagemapScan, &arg);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    for (const PmRegion& region : std::span(regions).first(static_cast<size_t>(n))) {
      if (region.start > next) append(clean, next, region.start);
      next = std::max(next, region.end);
    }
    if (arg.walk_end <= at) return false;
    at = arg.walk_end;
  }
  if (next < end) append(clean, next, end);
  return true;
}

// Without a vector the kernel protects whatever it meets, holes too, where it would leave a mark that looks like a
// swapped page: so this is for pages with content only.
bool Pagemap::try_protect(uint64_t start, uint64_t end) const {
  for (uint64_t at = start; at < end;) {
    PmScanArg arg{};
    arg.size = sizeof arg;
    arg.flags = kProtectMatching;
    arg.start = at;
    arg.end = end;
    arg.category_mask = kIsWritten;
    const int n = ::ioctl(fd_.get(), kPagemapScan, &arg);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 || arg.walk_end <= at) return false;
    at = arg.walk_end;
  }
  return true;
}

std::vector<uint64_t> Pagemap::words(uint64_t start, uint64_t end) const {
  std::vector<uint64_t> words((end - start) / kPage);
  words.resize(pread_some(fd_.get(), words.data(), words.size() * 8, start / kPage * 8) / 8);
  return words;
}

// False: the kernel does not know the call or the categories; nothing was told then.
bool Pagemap::scan(uint64_t start, uint64_t end, Request request, std::vector<PageRange>& out,
                   std::vector<PageRange>& guards) const {
  std::vector<PmRegion> regions(std::min<uint64_t>(512, (end - start) / kPage));
  const uint64_t first = start;
  while (start < end) {
    PmScanArg arg{};
    arg.size = sizeof arg;
    arg.start = start;
    arg.end = end;
    arg.vec = reinterpret_cast<uint64_t>(regions.data());
    arg.vec_len = regions.size();
    arg.category_mask = request.without | request.all;
    arg.category_inverted = request.without;
    arg.category_anyof_mask = request.any;
    arg.return_mask = request.told;
    const int n = ::ioctl(fd_.get(), kPagemapScan, &arg);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (arg.start != first) throw_errno("ioctl PAGEMAP_SCAN");
      return false;
    }
    for (const PmRegion& region : std::span(regions).first(static_cast<size_t>(n)))
      append((region.categories & kIsGuard) != 0 ? guards : out, region.start, region.end);
    if (arg.walk_end <= start) break;
    start = arg.walk_end;
  }
  return true;
}

// Bit 63 present, 62 swapped, 61 page cache or shared. The zero page cannot be told from others without its frame
// number; it is stored then, which costs space and nothing else.
void Pagemap::read_words(uint64_t start, uint64_t end, std::vector<PageRange>& out,
                         std::vector<PageRange>& guards) const {
  std::vector<uint64_t> words(4096);
  while (start < end) {
    const size_t count = std::min<uint64_t>(words.size(), (end - start) / kPage);
    const size_t got = pread_some(fd_.get(), words.data(), count * 8, start / kPage * 8) / 8;
    if (got == 0) return;
    for (size_t i = 0; i < got; ++i) {
      const bool here = words[i] >> 62 != 0, cached = (words[i] >> 61) & 1;
      const bool guard = (words[i] & kGuardWord) != 0;
      if (guard || (here && !cached)) append(guard ? guards : out, start + i * kPage, start + (i + 1) * kPage);
    }
    start += got * kPage;
  }
}

}  // namespace mcr::sys
