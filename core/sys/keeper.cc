#include "core/sys/keeper.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/number_in.h"
#include "core/sys/process.h"

namespace mcr::sys {
namespace {

constexpr int kPatience = 3'000;        // ms for a program to end that is being killed
constexpr int kMostPatience = 600'000;  // ms when it is known to be ending: much memory takes long to be freed

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

// SIGKILL has reached it, and it has not ended. A thread that waits in the kernel shows it as a waiting signal, one
// that frees its memory by PF_EXITING; a leader that has ended long before its threads shows nothing.
bool is_ending(int pidfd) {
  constexpr unsigned long kKillSignal = 1UL << (SIGKILL - 1), kExiting = 4;  // PF_EXITING
  const unsigned long pid = pid_of(pidfd);
  if (pid == 0) return false;
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%lu/status", pid);
  if ((number_in(path, "\nSigPnd:", 16) | number_in(path, "\nShdPnd:", 16)) & kKillSignal) return true;
  std::snprintf(path, sizeof path, "/proc/%lu/stat", pid);
  char text[1024];
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t n = fd < 0 ? -1 : ::read(fd, text, sizeof text - 1);
  if (fd >= 0) ::close(fd);
  if (n <= 0) return false;
  text[n] = '\0';
  const char* name_end = std::strrchr(text, ')');
  char state = 0;
  unsigned long flags = 0;
  if (!name_end || std::sscanf(name_end, ") %c %*d %*d %*d %*d %*d %lu", &state, &flags) != 2) return false;
  return state != 'Z' && (flags & kExiting) != 0;
}

bool has_ended(int pidfd) {
  pollfd end{pidfd, POLLIN, 0};
  for (int waited = 0; waited < kMostPatience; waited += kPatience) {
    if (::poll(&end, 1, kPatience) == 1) return true;
    if (!is_ending(pidfd)) return false;
  }
  return false;
}

// In the child of a process with one thread; nothing here allocates.
[[noreturn]] void stand_by(int line, std::span<const int> sockets, int pidfd, const KeptNetwork& network) {
  ::setsid();
  char order = read_order(line);
  const bool is_alive = order == kAlive;
  if (is_alive) order = read_order(line);
  if (order == kReleased) ::_exit(0);
  if (!is_alive && has_ended(pidfd)) {
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
