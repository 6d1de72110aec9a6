#include "core/sys/write_watch.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/base/unique_fd.h"
#include "core/sys/file.h"
#include "core/sys/pagemap.h"
#include "core/sys/process.h"

namespace mcr::sys {
namespace {

// Of linux/userfaultfd.h.
constexpr uint64_t kUserModeOnly = 1;                // UFFD_USER_MODE_ONLY, 5.11
constexpr uint64_t kFeatureWpUnpopulated = 1 << 13;  // UFFD_FEATURE_WP_UNPOPULATED, 6.4
constexpr uint64_t kFeatureWpAsync = 1 << 15;        // UFFD_FEATURE_WP_ASYNC, 6.7

}  // namespace

uint64_t write_watch_flags() {
  return O_CLOEXEC | O_NONBLOCK | kUserModeOnly;
}

bool try_enable_write_watch(int fd) {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kFeatureWpAsync | kFeatureWpUnpopulated;
  return ::ioctl(fd, UFFDIO_API, &api) == 0;
}

namespace {

constexpr size_t kPage = 4096, kTrialBytes = 8 << 20;  // with page tables that are not there

// What is to hold of every scan: a page that was protected and not written is told as such, a written one, one that was
// given back, and what never was there are not, nor is a guard page.
bool tries_well(int fd, std::byte* area) {
  constexpr int kGuardInstall = 102;  // MADV_GUARD_INSTALL, 6.13
  const auto start = reinterpret_cast<uint64_t>(area), end = start + kTrialBytes;
  std::fill(area, area + 6 * kPage, std::byte{1});
  if (try_watch(fd, start, end) != 0) return false;
  const Pagemap pagemap(own_pid());
  if (!pagemap.try_protect(start, start + 6 * kPage)) return false;
  area[kPage] = std::byte{2};
  ::madvise(area + 2 * kPage, kPage, MADV_DONTNEED);
  ::madvise(area + 3 * kPage, kPage, MADV_DONTNEED);
  area[3 * kPage] = std::byte{3};
  const bool has_guards = ::madvise(area + 5 * kPage, kPage, kGuardInstall) == 0;
  std::vector<PageRange> clean, content, guards;
  if (!pagemap.unwritten_pages(start, end, clean)) return false;
  pagemap.private_pages(start + 5 * kPage, start + 6 * kPage, content, guards);
  const auto is_range = [&](size_t i, uint64_t first, uint64_t last) {
    return clean[i].start == start + first * kPage && clean[i].end == start + last * kPage;
  };
  const bool guards_told = !has_guards || (content.empty() && guards.size() == 1);
  return guards_told && clean.size() == 2 && is_range(0, 0, 1) && is_range(1, 4, has_guards ? 5 : 6);
}

}  // namespace

bool can_watch_writes() {
  static const bool can = [] {
    const UniqueFd fd(static_cast<int>(::syscall(SYS_userfaultfd, write_watch_flags())));
    if (!fd.valid() || !try_enable_write_watch(fd.get())) return false;
    void* area = ::mmap(nullptr, kTrialBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) return false;
    ::madvise(area, kTrialBytes, MADV_NOHUGEPAGE);
    const bool well = tries_well(fd.get(), static_cast<std::byte*>(area));
    ::munmap(area, kTrialBytes);
    return well;
  }();
  return can;
}

int try_watch(int fd, uint64_t start, uint64_t end) {
  uffdio_register area{};
  area.range = {start, end - start};
  area.mode = UFFDIO_REGISTER_MODE_WP;
  return ::ioctl(fd, UFFDIO_REGISTER, &area) == 0 ? 0 : errno;
}

}  // namespace mcr::sys
