#include "core/sys/user_fault.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/base/unique_fd.h"
#include "core/sys/failure.h"

namespace mcr::sys {
namespace {

// Of linux/userfaultfd.h, 6.6.
constexpr uint64_t kFeaturePoison = 1 << 14;  // UFFD_FEATURE_POISON
struct PoisonArguments {                      // struct uffdio_poison
  uffdio_range range;
  uint64_t mode;
  int64_t updated;
};
constexpr unsigned long kPoison = _IOWR(UFFDIO, 0x08, PoisonArguments);

static_assert(sizeof(uffd_msg) == kFaultEventBytes);

// `done` has the kernel's answer: bytes, or a negative errno.
Filled filled(int result, int64_t done, uint64_t bytes) {
  if (result == 0) return {bytes, 0};
  const int code = errno;
  if (done > 0) return {static_cast<uint64_t>(done), code == EAGAIN ? 0 : code};
  return {0, done < 0 ? static_cast<int>(-done) : code};
}

}  // namespace

uint64_t user_fault_flags() {
  return O_CLOEXEC | O_NONBLOCK;
}

int try_enable_user_faults(int fd) {
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE |
                 UFFD_FEATURE_EVENT_UNMAP | kFeaturePoison;
  return ::ioctl(fd, UFFDIO_API, &api) == 0 ? 0 : errno;
}

uint64_t untouched_fault_flags() {
  return O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY;
}

int try_enable_untouched(int fd) {
  uffdio_api api{};
  api.api = UFFD_API;
  return ::ioctl(fd, UFFDIO_API, &api) == 0 ? 0 : errno;
}

std::string why_no_user_faults() {
  const UniqueFd fd(static_cast<int>(::syscall(SYS_userfaultfd, user_fault_flags())));
  if (!fd.valid())
    return errno == EPERM ? "it takes CAP_SYS_PTRACE" : fmt::format("userfaultfd(2) fails with {}", code_name(errno));
  switch (const int code = try_enable_user_faults(fd.get())) {
    case 0:
      return {};
    case EPERM:
      return "it takes CAP_SYS_PTRACE";
    case EINVAL:
      return "the kernel cannot mark pages whose content is lost (UFFDIO_POISON, Linux 6.6)";
    default:
      return fmt::format("UFFDIO_API fails with {}", code_name(code));
  }
}

int try_register_missing(int fd, uint64_t start, uint64_t end) {
  uffdio_register area{};
  area.range = {start, end - start};
  area.mode = UFFDIO_REGISTER_MODE_MISSING;
  return ::ioctl(fd, UFFDIO_REGISTER, &area) == 0 ? 0 : errno;
}

FaultEvent decode_fault_event(const std::byte* raw) {
  uffd_msg message;
  std::memcpy(&message, raw, sizeof message);
  FaultEvent event;
  switch (message.event) {
    case 0:
      break;
    case UFFD_EVENT_PAGEFAULT:
      event.kind = FaultEvent::Kind::fault;
      event.start = message.arg.pagefault.address / 4096 * 4096, event.end = event.start + 4096;
      break;
    case UFFD_EVENT_FORK:
      event.kind = FaultEvent::Kind::fork;
      event.file = static_cast<int>(message.arg.fork.ufd);
      break;
    case UFFD_EVENT_REMAP:
      event.kind = FaultEvent::Kind::remap;
      event.start = message.arg.remap.from, event.to = message.arg.remap.to;
      event.end = event.start + message.arg.remap.len;
      break;
    case UFFD_EVENT_REMOVE:
    case UFFD_EVENT_UNMAP:
      event.kind = message.event == UFFD_EVENT_UNMAP ? FaultEvent::Kind::unmap : FaultEvent::Kind::remove;
      event.start = message.arg.remove.start, event.end = message.arg.remove.end;
      break;
    default:
      event.kind = FaultEvent::Kind::other;
  }
  return event;
}

size_t read_fault_events(int fd, std::span<std::byte> raw) {
  const ssize_t n = ::read(fd, raw.data(), raw.size());
  return n < 0 ? 0 : static_cast<size_t>(n);
}

Filled try_copy_pages(int fd, uint64_t to, const std::byte* from, uint64_t bytes) {
  uffdio_copy copy{};
  copy.dst = to, copy.src = reinterpret_cast<uint64_t>(from), copy.len = bytes;
  const int result = ::ioctl(fd, UFFDIO_COPY, &copy);
  return filled(result, copy.copy, bytes);
}

Filled try_zero_pages(int fd, uint64_t to, uint64_t bytes) {
  uffdio_zeropage zero{};
  zero.range = {to, bytes};
  const int result = ::ioctl(fd, UFFDIO_ZEROPAGE, &zero);
  return filled(result, zero.zeropage, bytes);
}

Filled try_poison_pages(int fd, uint64_t to, uint64_t bytes) {
  PoisonArguments poison{{to, bytes}, 0, 0};
  const int result = ::ioctl(fd, kPoison, &poison);
  return filled(result, poison.updated, bytes);
}

// What is copied from cannot be read (below vm.mmap_min_addr), and the mapping is looked for first.
Watched probe_pages(int fd, uint64_t start, uint64_t bytes) {
  constexpr uint64_t kUnreadable = 4096;
  uffdio_copy copy{};
  copy.dst = start, copy.src = kUnreadable, copy.len = bytes;
  if (::ioctl(fd, UFFDIO_COPY, &copy) == 0) return Watched::unknown;
  switch (errno) {
    case EFAULT:
      return Watched::yes;
    case ENOENT:
      return Watched::no;
    case EAGAIN:
      return Watched::changing;
    case ESRCH:
      return Watched::gone;
    default:
      return Watched::unknown;
  }
}

bool is_quiet(int fd) {
  constexpr uint64_t kLast = 0x7fffffffe000;  // nothing is mapped there
  return probe_pages(fd, kLast, 4096) != Watched::changing;
}

void wake_faults(int fd, uint64_t start, uint64_t bytes) {
  uffdio_range range{start, bytes};
  ::ioctl(fd, UFFDIO_WAKE, &range);
}

// Other kernels refuse ranges below vm.mmap_min_addr, which is no more than this on any host.
void wake_all_faults(int fd) {
  constexpr uint64_t kFirst = 1 << 20, kTaskSize = 0x7ffffffff000;
  wake_faults(fd, kFirst, kTaskSize - kFirst);
  wake_faults(fd, 4096, kFirst - 4096);
}

}  // namespace mcr::sys
