#include "core/sys/ended_process.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/sys/failure.h"

namespace mcr::sys {
namespace {

struct PidfdInfo {  // struct pidfd_info of 6.15
  uint64_t mask, cgroup;
  uint32_t pid, tgid, ppid, ids[8];
  int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr unsigned long kGetInfo = _IOWR(0xFF, 11, PidfdInfo);
constexpr uint64_t kInfoExit = 8;

[[noreturn]] void end_as(int status) {
  if (WIFEXITED(status)) ::_exit(WEXITSTATUS(status));
  ::prctl(PR_SET_DUMPABLE, 0);
  ::signal(WTERMSIG(status), SIG_DFL);
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_UNBLOCK, &all, nullptr);
  ::kill(::getpid(), WTERMSIG(status));
  ::_exit(128 + WTERMSIG(status));
}

}  // namespace

std::optional<int> exit_status_of(int pidfd) {
  PidfdInfo info{};
  info.mask = kInfoExit;
  if (::ioctl(pidfd, kGetInfo, &info) != 0 || !(info.mask & kInfoExit)) return std::nullopt;
  return info.exit_code;
}

UniqueFd make_ended_pidfd(int status, unsigned flags) {
  const pid_t child = check(::fork(), "fork");
  if (child == 0) end_as(status);
  const long fd = ::syscall(SYS_pidfd_open, child, flags);
  const int code = errno;
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (fd < 0) throw_code(code, "pidfd_open");
  return UniqueFd(static_cast<int>(fd));
}

}  // namespace mcr::sys
