#include "core/sys/keeper.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::sys {
namespace {

constexpr int kPatience = 3'000;  // ms for a program to end that is being killed

// In the child of a process with one thread; nothing here allocates.
[[noreturn]] void stand_by(int line, std::span<const int> sockets, int pidfd) {
  ::setsid();
  char byte = 0;
  ssize_t n = -1;
  while ((n = ::read(line, &byte, 1)) < 0 && errno == EINTR) {
  }
  pollfd end{pidfd, POLLIN, 0};
  if (n != 1 && ::poll(&end, 1, kPatience) == 1) {
    const int on = 1;
    for (const int socket : sockets) ::setsockopt(socket, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on);
  }
  ::_exit(0);
}

}  // namespace

SocketKeeper::SocketKeeper(std::span<const int> sockets, int pidfd) {
  Pipe pipe = make_pipe(O_CLOEXEC);
  const BlockAllSignals no_signals;
  pid_ = static_cast<pid_t>(check(::fork(), "fork"));
  if (pid_ == 0) {
    ::close(pipe.write_end.get());
    stand_by(pipe.read_end.get(), sockets, pidfd);
  }
  line_ = std::move(pipe.write_end);
}

SocketKeeper::~SocketKeeper() {
  line_.reset();
  while (pid_ > 0 && ::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void SocketKeeper::release() {
  write_fully(line_.get(), "r", 1);
}

}  // namespace mcr::sys
