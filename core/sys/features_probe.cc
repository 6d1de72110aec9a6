#include "core/sys/features_probe.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <ctime>

#include "core/sys/failure.h"

namespace mcr::sys::probe {
namespace {

constexpr std::chrono::seconds kTimeLimit{2};
constexpr int kStrangeExit = 255;

enum class Waited { changed, time_limit, failed };

// Polls: a pidfd would not report a ptrace stop. __WALL, as a tracee need not be an ordinary child.
Waited wait_limited(pid_t pid, int& status) {
  const auto end = std::chrono::steady_clock::now() + kTimeLimit;
  timespec pause = {0, 20'000};
  for (;;) {
    const pid_t got = waitpid(pid, &status, WNOHANG | __WALL);
    if (got == pid) return Waited::changed;
    if (got < 0 && errno != EINTR) return Waited::failed;
    if (std::chrono::steady_clock::now() >= end) return Waited::time_limit;
    nanosleep(&pause, nullptr);
    if (pause.tv_nsec < 1'000'000) pause.tv_nsec *= 2;
  }
}

// SIGKILL also ends a task in a ptrace stop; the stops it still reports on its way are not its end.
void kill_and_reap(pid_t pid) {
  kill(pid, SIGKILL);
  for (;;) {
    int status = 0;
    const pid_t got = waitpid(pid, &status, __WALL);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 || WIFEXITED(status) || WIFSIGNALED(status)) return;
  }
}

// The child dies with the caller. The parent may have ended before prctl(2), hence the second look.
pid_t fork_bound_to_us() {
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(kStrangeExit);
  }
  return pid;
}

}  // namespace

Finding by_code(int code, std::string_view call) {
  if (code == 0) return yes();
  if (code == ETIMEDOUT) return no(fmt::format("{}: no answer within {} s", call, kTimeLimit.count()));
  return no(fmt::format("{}: {}", call, code_name(code)));
}

Finding by_errno(long result, std::string_view call) {
  return by_code(result < 0 ? errno : 0, call);
}

int in_child(int (*body)()) {
  const pid_t pid = fork_bound_to_us();
  if (pid < 0) return errno;
  if (pid == 0) _exit(body());
  int status = 0;
  switch (wait_limited(pid, status)) {
    case Waited::failed:
      return ECHILD;
    case Waited::time_limit:
      kill_and_reap(pid);
      return ETIMEDOUT;
    case Waited::changed:
      break;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) != kStrangeExit ? WEXITSTATUS(status) : ECHILD;
}

Victim::Victim() : pid_(fork_bound_to_us()), failure_(pid_ < 0 ? errno : 0) {
  while (pid_ == 0) pause();
}

Victim::~Victim() {
  if (pid_ > 0) kill_and_reap(pid_);
}

int Victim::seize() {
  if (failure_ != 0) return failure_;
  if (ptrace(PTRACE_SEIZE, pid_, nullptr, nullptr) < 0) return errno;
  if (ptrace(PTRACE_INTERRUPT, pid_, nullptr, nullptr) < 0) return errno;
  int status = 0;
  const Waited waited = wait_limited(pid_, status);
  if (waited == Waited::time_limit) return ETIMEDOUT;
  return waited == Waited::changed && WIFSTOPPED(status) ? 0 : ECHILD;
}

Page::Page(int prot) {
  void* address = mmap(nullptr, size(), prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address != MAP_FAILED) data_ = static_cast<char*>(address);
}

Page::~Page() {
  if (data_ != nullptr) munmap(data_, size());
}

size_t Page::size() {
  return static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace mcr::sys::probe
