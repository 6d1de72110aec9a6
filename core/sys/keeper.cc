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

constexpr char kAlive = 'l', kReleased = 'r';

char read_order(int line) {
  char byte = 0;
  ssize_t n = -1;
  while ((n = ::read(line, &byte, 1)) < 0 && errno == EINTR) {
  }
  return n == 1 ? byte : 0;
}

void send_all(int socket, const std::vector<std::string>& batches) {
  for (const std::string& batch : batches) ::send(socket, batch.data(), batch.size(), 0);
}

// In the child of a process with one thread; nothing here allocates.
[[noreturn]] void stand_by(int line, std::span<const int> sockets, int pidfd, const KeptNetwork& network) {
  ::setsid();
  char order = read_order(line);
  const bool is_alive = order == kAlive;
  if (is_alive) order = read_order(line);
  if (order == kReleased) ::_exit(0);
  pollfd end{pidfd, POLLIN, 0};
  if (!is_alive && ::poll(&end, 1, kPatience) == 1) {
    const int on = 1;
    for (const int socket : sockets) ::setsockopt(socket, IPPROTO_TCP, TCP_REPAIR, &on, sizeof on);
    send_all(network.socket, network.when_ended);
  } else {
    send_all(network.socket, network.when_alive);
    for (const int socket : network.woken) wake_connection(socket);
  }
  ::_exit(0);
}

}  // namespace

void wake_connection(int fd) {
  int reuse = 0;
  const int off = 0;
  socklen_t length = sizeof reuse;
  ::getsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, &length);
  ::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof off);
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);  // repair mode clears it
}

SocketKeeper::SocketKeeper(std::span<const int> sockets, int pidfd, const KeptNetwork& network) {
  Pipe pipe = make_pipe(O_CLOEXEC);
  const BlockAllSignals no_signals;
  pid_ = static_cast<pid_t>(check(::fork(), "fork"));
  if (pid_ == 0) {
    ::close(pipe.write_end.get());
    stand_by(pipe.read_end.get(), sockets, pidfd, network);
  }
  line_ = std::move(pipe.write_end);
}

SocketKeeper::~SocketKeeper() {
  line_.reset();
  while (pid_ > 0 && ::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void SocketKeeper::tell_alive() {
  write_fully(line_.get(), &kAlive, 1);
}
void SocketKeeper::release() {
  write_fully(line_.get(), &kReleased, 1);
}

}  // namespace mcr::sys
