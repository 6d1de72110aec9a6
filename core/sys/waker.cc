#include "core/sys/waker.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/number_in.h"
#include "core/sys/process.h"

namespace mcr::sys {
namespace {

constexpr char kReleased = 'r', kContinue = 'c';
constexpr int kPause = 5, kMostPauses = 120'000;  // ms; ten minutes

// Another dump may have begun already, and hold the process with a SIGSTOP of its own.
bool is_held_by_another(int pidfd) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%lu/status", pid_of(pidfd));
  constexpr unsigned long kStop = 1UL << (SIGSTOP - 1);
  return number_in(path, "\nTracerPid:", 10) != 0 && (number_in(path, "\nSigPnd:", 16) & kStop) != 0;
}

void continue_now(int pidfd) {
  ::syscall(SYS_pidfd_send_signal, pidfd, SIGCONT, nullptr, 0);
}

void continue_later(int pidfd) {
  for (int i = 0; i < kMostPauses && is_held_by_another(pidfd); ++i) ::poll(nullptr, 0, kPause);
  continue_now(pidfd);
}

// The line has an end when all have closed it who have it: we, and whoever was forked from us meanwhile. In the child
// of a process with one thread; nothing here allocates.
[[noreturn]] void stand_by(int line, int maker, std::span<const int> pidfds) {
  ::setsid();
  char byte = 0;
  ssize_t n = -1;
  while ((n = ::read(line, &byte, 1)) < 0 && errno == EINTR) {
  }
  if (n == 1 && byte == kReleased) ::_exit(0);
  if (n == 1) {
    for (const int pidfd : pidfds) continue_now(pidfd);
    ::_exit(0);
  }
  // Its descriptors are closed before it lets go of whom it traces (do_exit in kernel/exit.c).
  pollfd end{maker, POLLIN, 0};
  ::poll(&end, 1, kPause * kMostPauses);
  for (const int pidfd : pidfds) continue_later(pidfd);
  ::_exit(0);
}

}  // namespace

bool try_stop_thread(HostPid pid, HostTid tid) {
  return ::syscall(SYS_tgkill, pid.get(), tid.get(), SIGSTOP) == 0;
}

Waker::Waker(std::span<const int> pidfds) {
  Pipe pipe = make_pipe(O_CLOEXEC);
  const UniqueFd maker = open_pidfd(own_pid());
  const BlockAllSignals no_signals;
  pid_ = static_cast<pid_t>(check(::fork(), "fork"));
  if (pid_ == 0) {
    ::close(pipe.write_end.get());
    stand_by(pipe.read_end.get(), maker.get(), pidfds);
  }
  line_ = std::move(pipe.write_end);
}

Waker::~Waker() {
  if (line_.valid()) (void)!::write(line_.get(), &kContinue, 1);
  line_.reset();
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Waker::release() {
  // Should it have been killed, there is nothing left to do for it; it has nothing left to do if it cannot be told so.
  if (::write(line_.get(), &kReleased, 1) != 1) ::kill(pid_, SIGKILL);
  line_.reset();
}

}  // namespace mcr::sys
