#include "core/sys/process.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <cstring>

#include "core/sys/busy_wait.h"
#include "core/sys/failure.h"

namespace mcr::sys {

HostPid own_pid() {
  return HostPid(::getpid());
}
HostPid parent_pid() {
  return HostPid(::getppid());
}
pid_t session_of(pid_t pid) {
  return check(::getsid(pid), "getsid");
}
pid_t group_of(pid_t pid) {
  return check(::getpgid(pid), "getpgid");
}

bool try_kill(HostPid pid, int signal) {
  if (::kill(pid.get(), signal) == 0) return true;
  if (errno == ESRCH) return false;
  throw_errno(fmt::format("kill pid {} with signal {}", pid, signal));
}

void release_memory_of_killed(int pidfd) {
  constexpr long kProcessMrelease = 448;
  ::syscall(kProcessMrelease, pidfd, 0);
}

bool group_exists(pid_t group) {
  return ::kill(-group, 0) == 0 || errno == EPERM;
}

UniqueFd open_pidfd(HostPid pid) {
  return UniqueFd(static_cast<int>(check(::syscall(SYS_pidfd_open, pid.get(), 0), fmt::format("pidfd_open {}", pid))));
}

UniqueFd open_thread_pidfd(HostTid tid) {
  constexpr int kThread = O_EXCL;  // PIDFD_THREAD
  return UniqueFd(static_cast<int>(
      check(::syscall(SYS_pidfd_open, tid.get(), kThread), fmt::format("pidfd_open of thread {} (Linux 6.9)", tid))));
}

std::optional<UniqueFd> try_open_pidfd(HostPid pid) {
  const long fd = ::syscall(SYS_pidfd_open, pid.get(), 0);
  if (fd < 0 && errno == ESRCH) return std::nullopt;
  return UniqueFd(static_cast<int>(check(fd, fmt::format("pidfd_open {}", pid))));
}

UniqueFd get_fd(int pidfd, int remote_fd) {
  return UniqueFd(static_cast<int>(check(::syscall(SYS_pidfd_getfd, pidfd, remote_fd, 0), "pidfd_getfd")));
}

std::optional<UniqueFd> try_get_fd(int pidfd, int remote_fd) {
  const auto fd = static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, remote_fd, 0));
  if (fd >= 0) return UniqueFd(fd);
  if (errno == EBADF) return std::nullopt;
  throw_errno(fmt::format("pidfd_getfd({})", remote_fd));
}

int compare_files(HostPid a, int fd_a, HostPid b, int fd_b) {
  return static_cast<int>(check(::syscall(SYS_kcmp, a.get(), b.get(), KCMP_FILE, fd_a, fd_b), "kcmp"));
}

std::optional<bool> share_object(pid_t a, pid_t b, int type) {
  const long order = ::syscall(SYS_kcmp, a, b, type, 0, 0);
  if (order < 0 && errno == ESRCH) return std::nullopt;
  return check(order, "kcmp") == 0;
}

int compare_objects(pid_t a, pid_t b, int type) {
  return static_cast<int>(check(::syscall(SYS_kcmp, a, b, type, 0, 0), "kcmp"));
}

bool try_read_memory(HostPid pid, RemoteAddr from, void* to, size_t size) {
  const iovec local{to, size};
  const iovec remote{reinterpret_cast<void*>(from.get()), size};
  return ::process_vm_readv(pid.get(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
}

void read_memory(HostPid pid, RemoteAddr from, void* to, size_t size) {
  const iovec local{to, size};
  const iovec remote{reinterpret_cast<void*>(from.get()), size};
  const ssize_t n = check(::process_vm_readv(pid.get(), &local, 1, &remote, 1, 0),
                          fmt::format("read {} bytes of memory at {}", size, from));
  if (static_cast<size_t>(n) != size)
    throw Error(Fault::system, fmt::format("read memory at {}: {} of {} bytes", from, n, size));
}

void write_memory(HostPid pid, RemoteAddr to, const void* from, size_t size) {
  const iovec local{const_cast<void*>(from), size};
  const iovec remote{reinterpret_cast<void*>(to.get()), size};
  const ssize_t n = check(::process_vm_writev(pid.get(), &local, 1, &remote, 1, 0),
                          fmt::format("write {} bytes of memory at {}", size, to));
  if (static_cast<size_t>(n) != size)
    throw Error(Fault::system, fmt::format("write memory at {}: {} of {} bytes", to, n, size));
}

RobustList robust_list_of(HostTid tid) {
  RobustList list;
  check(::syscall(SYS_get_robust_list, tid.get(), &list.head, &list.length), "get_robust_list");
  return list;
}

SchedAttr scheduling_of(HostTid tid) {
  SchedAttr attr{};
  check(::syscall(SYS_sched_getattr, tid.get(), &attr, sizeof attr, 0), "sched_getattr");
  return attr;
}

void set_scheduling(HostTid tid, const SchedAttr& attr) {
  check(::syscall(SYS_sched_setattr, tid.get(), &attr, 0), "sched_setattr");
}

std::vector<std::byte> affinity_of(HostTid tid) {
  std::vector<std::byte> mask(1024);
  const long n = check(::syscall(SYS_sched_getaffinity, tid.get(), mask.size(), mask.data()), "sched_getaffinity");
  mask.resize(static_cast<size_t>(n));
  return mask;
}

bool try_set_affinity(HostTid tid, std::span<const std::byte> mask) {
  const long result = ::syscall(SYS_sched_setaffinity, tid.get(), mask.size(), mask.data());
  if (result < 0 && errno == EINVAL) return false;
  check(result, "sched_setaffinity");
  return true;
}

void set_affinity(HostTid tid, std::span<const std::byte> mask) {
  check(::syscall(SYS_sched_setaffinity, tid.get(), mask.size(), mask.data()), "sched_setaffinity");
}

uint64_t core_cookie_of(HostTid tid) {
  constexpr int kSchedCore = 62, kGet = 0, kThread = 0;  // PR_SCHED_CORE, PR_SCHED_CORE_GET, PIDTYPE_PID
  uint64_t cookie = 0;
  return ::prctl(kSchedCore, kGet, tid.get(), kThread, &cookie) == 0 ? cookie : 0;
}
int io_priority_of(HostTid tid) {
  return static_cast<int>(check(::syscall(SYS_ioprio_get, 1, tid.get()), "ioprio_get"));
}
void set_io_priority(HostTid tid, int value) {
  check(::syscall(SYS_ioprio_set, 1, tid.get(), value), "ioprio_set");
}

rlimit limit_of_self(int resource) {
  rlimit limit{};
  check(::getrlimit(static_cast<__rlimit_resource_t>(resource), &limit), "getrlimit");
  return limit;
}
void set_limit_of_self(int resource, const rlimit& limit) {
  (void)::setrlimit(static_cast<__rlimit_resource>(resource), &limit);
}

SocketPair make_socket_pair() {
  int fds[2];
  check(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), "socketpair");
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

void send_message(int socket, const void* data, size_t size, std::span<const int> fds) {
  iovec part{const_cast<void*>(data), size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  std::vector<std::byte> control(CMSG_SPACE(fds.size_bytes()));
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  check(::sendmsg(socket, &message, MSG_NOSIGNAL), "send to the other process");
}

std::optional<size_t> receive_message(int socket, void* data, size_t size, const Deadline& deadline) {
  thread_local BusyWait busily;
  const auto received = busily.until([&]() -> std::optional<size_t> {
    const ssize_t n = ::recv(socket, data, size, MSG_DONTWAIT);
    return n < 0 ? std::nullopt : std::optional(static_cast<size_t>(n));  // what is wrong shows below
  });
  if (received) return received;
  for (;;) {
    if (deadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now()).count();
      pollfd p{socket, POLLIN, 0};
      const int n = ::poll(&p, 1, left > 0 ? static_cast<int>(left) : 0);
      if (n == 0) return std::nullopt;
      if (n < 0 && errno != EINTR) throw_errno("poll");
      if (n < 0) continue;
    }
    const ssize_t n = ::recv(socket, data, size, 0);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno == ECONNRESET) return 0;
    if (errno != EINTR) throw_errno("receive from the other process");
  }
}

bool try_receive_with_file(int socket, void* data, size_t size, UniqueFd& file) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec part{data, size};
  msghdr message{};
  message.msg_iov = &part, message.msg_iovlen = 1;
  message.msg_control = control, message.msg_controllen = sizeof control;
  ssize_t n = -1;
  while ((n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  const cmsghdr* rights = n < 0 ? nullptr : CMSG_FIRSTHDR(&message);
  if (!rights || rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS) return false;
  int number = -1;
  std::memcpy(&number, CMSG_DATA(rights), sizeof number);
  file.reset(number);
  return n == static_cast<ssize_t>(size);
}

void* map_anonymous_at(uint64_t address, size_t size, int prot) {
  void* p =
      ::mmap(reinterpret_cast<void*>(address), size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (p == MAP_FAILED) throw_errno("mmap");
  return p;
}
void protect(void* address, size_t size, int prot) {
  check(::mprotect(address, size, prot), "mprotect");
}
void unmap(void* address, size_t size) {
  check(::munmap(address, size), "munmap");
}

BlockAllSignals::BlockAllSignals() {
  const uint64_t all = ~0ULL;
  check(::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old_, sizeof all), "rt_sigprocmask");
}
BlockAllSignals::~BlockAllSignals() {
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &old_, nullptr, sizeof old_);
}

std::string kernel_release() {
  utsname name{};
  check(::uname(&name), "uname");
  return name.release;
}
std::string host_name() {
  utsname name{};
  check(::uname(&name), "uname");
  return name.nodename;
}
uint64_t clock_ns(int clock) {
  timespec t{};
  check(::clock_gettime(clock, &t), "clock_gettime");
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}
uint64_t clock_resolution_ns(int clock) {
  timespec t{};
  check(::clock_getres(clock, &t), "clock_getres");
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec);
}
uint64_t page_size() {
  return static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::optional<uint64_t> vdso_address() {
  const unsigned long address = ::getauxval(AT_SYSINFO_EHDR);
  if (address == 0) return std::nullopt;
  return address;
}

bool has_capability(int capability) {
  struct {
    uint32_t version;
    int pid;
  } header{0x20080522, 0};
  struct {
    uint32_t effective, permitted, inheritable;
  } data[2]{};
  check(::syscall(SYS_capget, &header, data), "capget");
  return (data[capability / 32].effective >> (capability % 32)) & 1;
}
bool is_other_user(uint32_t uid, uint32_t gid) {
  return uid != ::geteuid() || gid != ::getegid();
}
uint32_t effective_uid() {
  return ::geteuid();
}
uint32_t effective_gid() {
  return ::getegid();
}

}  // namespace mcr::sys
