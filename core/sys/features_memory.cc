// Probes: memory, and finding what changed in it.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "core/base/unique_fd.h"
#include "core/sys/failure.h"
#include "core/sys/features_probe.h"
#include "core/sys/file.h"

namespace mcr::sys::probe {
namespace {

// PAGEMAP_SCAN of linux/fs.h, 6.7.
struct ScanArguments {
  uint64_t size, flags, start, end, walk_end, regions, region_count, max_pages;
  uint64_t category_inverted, category_mask, category_any, return_mask;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArguments);
constexpr uint64_t kPageIsPresent = 1 << 3;
struct ScanRegion {
  uint64_t start, end, categories;
};

// Of linux/userfaultfd.h.
constexpr uint64_t kFeatureWpUnpopulated = 1 << 13;  // UFFD_FEATURE_WP_UNPOPULATED, 6.4
constexpr uint64_t kFeatureWpAsync = 1 << 15;        // UFFD_FEATURE_WP_ASYNC, 6.7
constexpr uint64_t kFeatureMove = 1 << 16;           // UFFD_FEATURE_MOVE, 6.8
struct MoveArguments {                               // UFFDIO_MOVE, 6.8
  uint64_t to, from, size, mode;
  int64_t moved;
};
constexpr unsigned long kMove = _IOWR(UFFDIO, 0x05, MoveArguments);

UniqueFd open_userfaultfd(int flags) {
  return UniqueFd(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags)));
}

// A descriptor with these features agreed on, or an invalid one and errno. Without CAP_SYS_PTRACE, and with
// vm.unprivileged_userfaultfd=0, only faults of user mode can be had (5.11).
UniqueFd userfaultfd_with(uint64_t features, bool* user_mode_only = nullptr) {
  UniqueFd fd = open_userfaultfd(0);
  const bool restricted = !fd.valid() && errno == EPERM;
  if (restricted) fd = open_userfaultfd(UFFD_USER_MODE_ONLY);
  if (user_mode_only != nullptr) *user_mode_only = restricted;
  if (!fd.valid()) return fd;
  uffdio_api api = {};
  api.api = UFFD_API;
  api.features = features;
  if (ioctl(fd.get(), UFFDIO_API, &api) == 0) return fd;
  const int code = errno;
  fd.reset();
  errno = code;
  return fd;
}

// Fills a missing page by moving another one into its place. Runs in a child, whose pages are its own (a page that is
// shared after a fork cannot be moved).
int move_a_page() {
  const Page from(PROT_READ | PROT_WRITE), to(PROT_READ | PROT_WRITE);
  if (from.data() == nullptr || to.data() == nullptr) return ENOMEM;
  const UniqueFd fd = userfaultfd_with(kFeatureMove);
  if (!fd.valid()) return errno;
  *from.data() = 'm';
  uffdio_register area = {};
  area.range = {to.address(), Page::size()};
  area.mode = UFFDIO_REGISTER_MODE_MISSING;
  if (ioctl(fd.get(), UFFDIO_REGISTER, &area) < 0) return errno;
  MoveArguments move = {to.address(), from.address(), Page::size(), 0, 0};
  if (ioctl(fd.get(), kMove, &move) < 0) return errno;
  return *to.data() == 'm' ? 0 : EIO;
}

// Writing 4 to clear_refs clears the bits of the process; a later write sets that of the page: bit 55 of its pagemap
// entry (Documentation/admin-guide/mm/soft-dirty.rst). Without CONFIG_MEM_SOFT_DIRTY the bit stays 0.
int write_shows_in_soft_dirty() {
  const Page page(PROT_READ | PROT_WRITE);
  if (page.data() == nullptr) return ENOMEM;
  volatile char* byte = page.data();
  *byte = 1;
  const UniqueFd clear(::open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC));
  if (!clear.valid() || write(clear.get(), "4", 1) != 1) return errno;
  *byte = 2;
  const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  uint64_t entry = 0;
  const auto offset = static_cast<off_t>(page.address() / Page::size() * sizeof entry);
  if (!pagemap.valid() || pread(pagemap.get(), &entry, sizeof entry, offset) != sizeof entry) return errno;
  return (entry >> 55 & 1) != 0 ? 0 : EOPNOTSUPP;
}

}  // namespace

// The links can be read by everybody who may trace the process; to open one takes CAP_CHECKPOINT_RESTORE (5.9) or
// CAP_SYS_ADMIN in the first user namespace.
Finding map_files() {
  const UniqueFd file(memfd_create("probe", MFD_CLOEXEC));
  if (!file.valid() || ftruncate(file.get(), static_cast<off_t>(Page::size())) < 0) return by_errno(-1, "memfd_create");
  void* address = mmap(nullptr, Page::size(), PROT_READ, MAP_SHARED, file.get(), 0);
  if (address == MAP_FAILED) return by_errno(-1, "mmap");
  const auto start = reinterpret_cast<uint64_t>(address);
  const std::string path = fmt::format("/proc/self/map_files/{:x}-{:x}", start, start + Page::size());
  const UniqueFd again(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  Finding finding = by_errno(again.get(), "open /proc/self/map_files/...");
  munmap(address, Page::size());
  return finding;
}

Finding pagemap_scan() {
  const Page page(PROT_READ | PROT_WRITE);
  if (page.data() == nullptr) return no("mmap: no memory");
  *static_cast<volatile char*>(page.data()) = 1;
  const UniqueFd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  if (!pagemap.valid()) return by_errno(-1, "open /proc/self/pagemap");
  ScanRegion region = {};
  ScanArguments scan = {};
  scan.size = sizeof scan;
  scan.start = page.address();
  scan.end = page.address() + Page::size();
  scan.regions = reinterpret_cast<uint64_t>(&region);
  scan.region_count = 1;
  scan.category_mask = scan.return_mask = kPageIsPresent;
  const int found = ioctl(pagemap.get(), kPagemapScan, &scan);
  if (found < 0) return by_errno(found, "ioctl PAGEMAP_SCAN");
  return found == 1 && region.start == page.address() ? yes() : no("PAGEMAP_SCAN: a present page was not found");
}

Finding userfaultfd() {
  bool user_mode_only = false;
  const UniqueFd fd = userfaultfd_with(0, &user_mode_only);
  Finding finding = by_errno(fd.get(), "userfaultfd");
  if (finding.available && user_mode_only) finding.detail = "faults of user mode only";
  return finding;
}

Finding userfaultfd_wp_async() {
  const UniqueFd fd = userfaultfd_with(kFeatureWpAsync | kFeatureWpUnpopulated);
  return by_errno(fd.get(), "userfaultfd with UFFD_FEATURE_WP_ASYNC");
}

Finding userfaultfd_move() {
  return by_code(in_child(move_a_page), "ioctl UFFDIO_MOVE");
}

Finding soft_dirty() {
  const int code = in_child(write_shows_in_soft_dirty);
  if (code == EOPNOTSUPP) return no("a write does not set the bit: the kernel is built without CONFIG_MEM_SOFT_DIRTY");
  return by_code(code, "/proc/self/clear_refs");
}

Finding memory_file() {
  const UniqueFd fd(memfd_create("probe", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  return by_errno(fd.get(), "memfd_create");
}

// "always [madvise] never"
Finding transparent_huge_pages() {
  const std::string text = try_read_text("/sys/kernel/mm/transparent_hugepage/enabled").value_or("");
  const size_t open = text.find('['), close = text.find(']');
  if (open == std::string::npos || close == std::string::npos || close < open)
    return no("/sys/kernel/mm/transparent_hugepage/enabled: no mode can be read");
  const std::string mode = text.substr(open + 1, close - open - 1);
  return mode == "never" ? no("they are switched off", mode) : yes(mode);
}

}  // namespace mcr::sys::probe
