#include "core/sys/namespaces.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "core/sys/clone_raw.h"
#include "core/sys/failure.h"
#include "core/sys/file.h"

#ifndef P_PIDFD
#define P_PIDFD 3  // 5.4
#endif

namespace mcr::sys {
namespace {

constexpr unsigned long kGetUserNamespace = 0xb701, kGetParent = 0xb702;  // NS_GET_USERNS, NS_GET_PARENT: linux/nsfs.h

// ---- process 1 of the namespace and the one that makes it: plain system calls, nothing is thrown ----

int receive_descriptor(int socket) {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part, message.msg_iovlen = 1;
  message.msg_control = control, message.msg_controllen = sizeof control;
  ssize_t n;
  do n = ::recvmsg(socket, &message, 0);
  while (n < 0 && errno == EINTR);
  const cmsghdr* header = n == 1 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (!header || header->cmsg_type != SCM_RIGHTS) return -1;
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return fd;
}

// SIGCHLD ignored: the kernel collects orphans by itself, and waitpid() returns only when there are no more (wait(2)).
// Signals without a handler do not reach a process 1, except SIGKILL and SIGSTOP from outside.
[[noreturn]] void be_init(int control) {
  ::signal(SIGCHLD, SIG_IGN);
  ::setsid();
  ::dup3(control, 3, O_CLOEXEC);
  ::close_range(4, ~0U, 0);
  for (int fd = 0; fd < 3; ++fd) ::close(fd);
  if (::chdir("/") < 0) ::_exit(1);
  ::prctl(PR_SET_NAME, "mini-criu-init");
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3]{};
  ::syscall(SYS_capset, &header, none);
  const int root = receive_descriptor(3);
  if (root < 0) ::_exit(0);  // nothing came of it; whoever lives here ends with us
  ::close(3);
  pollfd watched{root, POLLIN, 0};
  while (::poll(&watched, 1, -1) < 0 && errno == EINTR) {
  }
  while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
  }
  ::_exit(0);
}

int write_own(const char* path, const char* text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  const auto size = static_cast<ssize_t>(std::strlen(text));
  const int code = ::write(fd, text, static_cast<size_t>(size)) == size ? 0 : errno;
  ::close(fd);
  return code;
}

// Our user and group become themselves; without "deny" the group could not be mapped without a right (3.19).
int enter_user_namespace(const char* uid_map, const char* gid_map) {
  ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);  // else the files below belong to root
  if (::unshare(CLONE_NEWUSER | CLONE_NEWPID) < 0) return errno;
  if (const int code = write_own("/proc/self/setgroups", "deny")) return code;
  if (const int code = write_own("/proc/self/uid_map", uid_map)) return code;
  return write_own("/proc/self/gid_map", gid_map);
}

struct Report {
  enum Stage : int32_t { in_namespaces, in_init, in_process, done };
  int32_t stage = in_namespaces, code = 0;
  pid_t init = 0, pid = 0;
};

struct IdMaps {
  const char *uid, *gid;
};

// Made by CLONE_PARENT, both are children of the engine. maps: of a new user namespace; null: none is made.
Report make_both(const CloneRequest& request, int control, const IdMaps* maps) {
  Report report;
  report.code = maps ? enter_user_namespace(maps->uid, maps->gid) : ::unshare(CLONE_NEWPID) < 0 ? errno : 0;
  if (report.code != 0) return report;
  report.stage = Report::in_init;
  clone_args args{};
  args.flags = CLONE_PARENT;
  const long init = ::syscall(SYS_clone3, &args, sizeof args);
  if (init == 0) be_init(control);
  if (init < 0) return report.code = errno, report;
  report.init = static_cast<pid_t>(init);
  report.stage = Report::in_process;
  CloneRequest first = request;
  first.sibling = !request.orphan;
  const long pid = clone_raw(first);
  if (pid < 0) {
    report.code = static_cast<int32_t>(-pid);
    return report;
  }
  report.pid = static_cast<pid_t>(pid);
  report.stage = Report::done;
  return report;
}

// ---- outside ----

[[noreturn]] void refuse_without_user(const Report& report) {
  const char* const what[] = {"a pid namespace cannot be made", "process 1 cannot be made in a pid namespace",
                              "the process cannot be made in a pid namespace of its own"};
  throw Error(Fault::refused, fmt::format("{}: {}", what[report.stage], code_name(report.code)),
              "see /proc/sys/user/max_pid_namespaces", report.code);
}

[[noreturn]] void refuse(const Report& report, pid_t wanted) {
  const char* const what[] = {"new user and pid namespaces cannot be made", "process 1 cannot be made",
                              "the process cannot be made there"};
  throw Error(Fault::refused,
              fmt::format("without CAP_CHECKPOINT_RESTORE pid {} can only be had in namespaces of its own, but {}: {}",
                          wanted, what[report.stage], code_name(report.code)),
              "CAP_CHECKPOINT_RESTORE is the right that is missing; or allow user namespaces (mini-criu check, "
              "docs/rights.md)",
              report.code);
}

std::optional<struct stat> stat_of_related(const std::string& path, unsigned long which) {
  int code = 0;
  const auto fd = probe_open(path, O_RDONLY, code);
  if (!fd) return std::nullopt;
  const UniqueFd related(::ioctl(fd->get(), which));
  if (!related.valid()) return std::nullopt;
  return stat_fd(related.get());
}

bool is_same(const std::optional<struct stat>& a, const std::optional<struct stat>& b) {
  return a && b && a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

bool is_child_of_ours(HostPid pid, const char* name) {
  return is_same(stat_of_related(fmt::format("/proc/{}/ns/{}", pid, name), kGetParent),
                 try_stat(fmt::format("/proc/self/ns/{}", name)));
}

// "      1000       1000          1"
bool maps_one_to_itself(const std::string& path) {
  const auto text = try_read_text(path);
  unsigned inside = 0, outside = 1, count = 0;
  int used = 0;
  return text && std::sscanf(text->c_str(), "%u %u %u %n", &inside, &outside, &count, &used) == 3 &&
         static_cast<size_t>(used) == text->size() && inside == outside && count == 1;
}

}  // namespace

OwnNamespaces::~OwnNamespaces() {
  if (committed_ || !init_pidfd_.valid()) return;
  ::syscall(SYS_pidfd_send_signal, init_pidfd_.get(), SIGKILL, nullptr, 0);
  collect_child(init_pidfd_.get(), 10'000);
}

HostPid OwnNamespaces::clone_into(const CloneRequest& request) {
  const std::string uid = fmt::format("{0} {0} 1", ::geteuid()), gid = fmt::format("{0} {0} 1", ::getegid());
  SocketPair pair = make_socket_pair();
  const Pipe report_line = make_pipe(O_CLOEXEC);
  const BlockAllSignals no_signals;
  const pid_t maker = check(::fork(), "fork");
  if (maker == 0) {
    const IdMaps maps{uid.c_str(), gid.c_str()};
    const Report report = make_both(request, pair.theirs.get(), with_user_ ? &maps : nullptr);
    const bool told = ::write(report_line.write_end.get(), &report, sizeof report) == sizeof report;
    ::_exit(told ? 0 : 1);
  }
  int status = 0;
  while (::waitpid(maker, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw Error(Fault::system, "the maker of the namespaces has died");
  Report report;
  read_exactly(report_line.read_end.get(), &report, sizeof report);
  control_ = std::move(pair.ours);
  if (report.init > 0) init_pidfd_ = open_pidfd(HostPid(report.init));
  if (report.stage != Report::done && !with_user_) refuse_without_user(report);
  if (report.stage != Report::done) refuse(report, request.pid);
  return HostPid(report.pid);
}

void OwnNamespaces::commit(int root_pidfd) {
  const char byte = 1;
  send_message(control_.get(), &byte, 1, std::span(&root_pidfd, 1));
  committed_ = true;
  control_.reset();
}

bool collect_child(int pidfd, int milliseconds) {
  if (!wait_readable(pidfd, milliseconds)) return false;
  siginfo_t info{};
  return ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG | __WALL) == 0;
}

bool lives_in_own_namespaces(HostPid pid) {
  return is_child_of_ours(pid, "user") && is_child_of_ours(pid, "pid") &&
         maps_one_to_itself(fmt::format("/proc/{}/uid_map", pid)) &&
         maps_one_to_itself(fmt::format("/proc/{}/gid_map", pid));
}

bool owns_pid_namespace() {
  return is_same(stat_of_related("/proc/self/ns/pid", kGetUserNamespace), try_stat("/proc/self/ns/user"));
}

}  // namespace mcr::sys
