#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/kcmp.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>

#include "core/sys/failure.h"
#include "core/sys/features_probe.h"
#include "core/sys/file.h"

namespace mcr::sys::probe {
namespace {

Finding fdinfo_says(const UniqueFd& fd, std::string_view word) {
  const auto text = try_read_text(fmt::format("/proc/self/fdinfo/{}", fd.get()));
  if (!text) return no("/proc/self/fdinfo cannot be read");
  return text->find(word) != std::string::npos ? yes() : no(fmt::format("/proc/self/fdinfo has no line \"{}\"", word));
}

}  // namespace

Finding asynchronous_io() {
  aio_context_t context = 0;
  if (const long result = syscall(SYS_io_setup, 1, &context); result < 0) return by_errno(result, "io_setup");
  syscall(SYS_io_destroy, context);
  return yes();
}

Finding locks_in_fdinfo() {
  const UniqueFd fd(memfd_create("lock", MFD_CLOEXEC));
  if (!fd.valid()) return by_errno(-1, "memfd_create");
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return by_errno(-1, "flock");
  return fdinfo_says(fd, "lock:");
}

Finding mount_in_fdinfo() {
  const UniqueFd fd(::open("/", O_PATH | O_CLOEXEC));
  return fd.valid() ? fdinfo_says(fd, "mnt_id:") : by_errno(-1, "open(/)");
}

Finding clock_in_fdinfo() {
  const UniqueFd fd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  return fd.valid() ? fdinfo_says(fd, "clockid:") : by_errno(-1, "timerfd_create");
}

Finding login_uid() {
  return access("/proc/self/loginuid", W_OK) == 0 ? yes() : by_errno(-1, "/proc/self/loginuid");
}

Finding huge_memory_file() {
  const UniqueFd fd(memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB));
  return fd.valid() ? yes() : by_errno(-1, "memfd_create(MFD_HUGETLB)");
}

Finding compare_epoll_targets() {
  const UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC)), event(eventfd(0, EFD_CLOEXEC));
  epoll_event wanted{};
  if (!epoll.valid() || !event.valid() || epoll_ctl(epoll.get(), EPOLL_CTL_ADD, event.get(), &wanted) != 0)
    return by_errno(-1, "epoll_ctl");
  kcmp_epoll_slot slot{static_cast<uint32_t>(epoll.get()), static_cast<uint32_t>(event.get()), 0};
  const long order = syscall(SYS_kcmp, getpid(), getpid(), KCMP_EPOLL_TFD, event.get(), &slot);
  return order < 0 ? by_errno(order, "kcmp(KCMP_EPOLL_TFD)") : yes();
}

Finding seccomp_filter_mode() {
  uint32_t action = SECCOMP_RET_ERRNO;
  return by_errno(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action), "seccomp");
}

Finding suspended_seccomp() {
  constexpr unsigned long kSuspend = 1UL << 21;  // PTRACE_O_SUSPEND_SECCOMP (4.3)
  Victim victim;
  if (const int code = victim.seize(); code != 0) return by_code(code, "ptrace(PTRACE_SEIZE)");
  return by_errno(ptrace(PTRACE_SETOPTIONS, victim.pid(), nullptr, reinterpret_cast<void*>(kSuspend)),
                  "ptrace(PTRACE_O_SUSPEND_SECCOMP)");
}

Finding locked_socket_buffers() {
  constexpr int kBufferLock = 72;  // SO_BUF_LOCK (5.14)
  const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int value = 0;
  socklen_t length = sizeof value;
  return by_errno(getsockopt(fd.get(), SOL_SOCKET, kBufferLock, &value, &length), "getsockopt(SO_BUF_LOCK)");
}

Finding tcp_repair() {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  return by_errno(setsockopt(fd.get(), IPPROTO_TCP, TCP_REPAIR, &on, sizeof on), "setsockopt(TCP_REPAIR)");
}

Finding foreign_addresses() {
  constexpr int kFreebind = 78;  // IPV6_FREEBIND (4.15)
  const UniqueFd fd(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  return by_errno(setsockopt(fd.get(), IPPROTO_IPV6, kFreebind, &on, sizeof on), "setsockopt(IPV6_FREEBIND)");
}

Finding raw_sockets() {
  const UniqueFd fd(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));
  return fd.valid() ? yes() : by_errno(-1, "socket(SOCK_RAW)");
}

Finding packet_filter() {
  const UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  return fd.valid() ? yes() : by_errno(-1, "socket(NETLINK_NETFILTER)");
}

}  // namespace mcr::sys::probe
