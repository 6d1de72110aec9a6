#include "core/sys/guardian.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "core/base/log.h"
#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::sys {
namespace {

// In the child of a process with one thread; nothing here allocates.
[[noreturn]] void stand_by(int line, std::span<const int> pidfds) {
  char byte = 0;
  ssize_t n = -1;
  while ((n = ::read(line, &byte, 1)) < 0 && errno == EINTR) {
  }
  if (n != 1)
    for (const int pidfd : pidfds) ::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
  ::_exit(0);
}

}  // namespace

Guardian::Guardian(std::span<const int> pidfds) {
  Pipe pipe = make_pipe(O_CLOEXEC);
  const BlockAllSignals no_signals;  // what is sent to our whole group is not for it
  pid_ = static_cast<pid_t>(check(::fork(), "fork"));
  if (pid_ == 0) {
    ::close(pipe.write_end.get());
    stand_by(pipe.read_end.get(), pidfds);
  }
  ::setpgid(pid_, pid_);  // before anything is killed: what kills our whole group does not kill it
  line_ = std::move(pipe.write_end);
}

Guardian::~Guardian() {
  line_.reset();
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
}

void Guardian::commit() {
  write_fully(line_.get(), "c", 1);
}

}  // namespace mcr::sys
