#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "core/sys/keeper.h"
#include "core/sys/process.h"
#include "core/sys/socket.h"

namespace mcr::sys {
namespace {

// Both ends of a connection over the loopback.
class Connection {
 public:
  Connection() {
    const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET, address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* where = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(listener, where, sizeof address), 0);
    EXPECT_EQ(::listen(listener, 1), 0);
    EXPECT_EQ(::getsockname(listener, where, &length), 0);
    ends_[0] = UniqueFd(::socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(::connect(ends_[0].get(), where, sizeof address), 0);
    ends_[1] = UniqueFd(::accept(listener, nullptr, nullptr));
    ::close(listener);
  }
  int fd() const { return ends_[0].get(); }
  bool is_silenced() const { return get_int_option(fd(), IPPROTO_TCP, TCP_REPAIR) != 0; }

 private:
  UniqueFd ends_[2];
};

// The first process of a pid namespace ends when all others of it have; one of them is traced by us, and not collected
// before we say so. Until then the first one is killed and has not ended.
class SlowToEnd {
 public:
  SlowToEnd() {
    int line[2];
    EXPECT_EQ(::pipe(line), 0);
    maker_ = ::fork();
    if (maker_ == 0) {
      if (::unshare(CLONE_NEWPID) != 0) ::_exit(1);
      const pid_t first = ::fork();
      if (first == 0) {
        (void)!::fork();
        for (;;) ::pause();
      }
      ::_exit(::write(line[1], &first, sizeof first) == sizeof first ? 0 : 1);
    }
    ::close(line[1]);
    if (::read(line[0], &first_, sizeof first_) != sizeof first_) first_ = -1;
    ::close(line[0]);
    ::waitpid(maker_, nullptr, 0);
    if (first_ > 0) second_ = child_of(first_);
    if (second_ > 0 && ::ptrace(PTRACE_SEIZE, second_, 0, 0) != 0) second_ = -1;
  }
  ~SlowToEnd() {
    if (first_ > 0) ::kill(first_, SIGKILL);
    collect();
  }
  bool is_there() const { return first_ > 0 && second_ > 0; }
  pid_t pid() const { return first_; }
  void collect() {
    if (second_ > 0) ::waitpid(second_, nullptr, __WALL);
    second_ = -1;
  }

 private:
  static pid_t child_of(pid_t pid) {
    const std::string path = "/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children";
    for (int i = 0; i < 1000; ++i) {
      pid_t child = -1;
      if (FILE* file = ::fopen(path.c_str(), "r")) {
        const bool found = ::fscanf(file, "%d", &child) == 1;
        ::fclose(file);
        if (found) return child;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return -1;
  }
  pid_t maker_ = -1, first_ = -1, second_ = -1;
};

TEST(SocketKeeper, WaitsForAProgramThatIsKilledAndTakesLongToEnd) {
  SlowToEnd program;
  if (!program.is_there() && ::geteuid() != 0) GTEST_SKIP() << "only root may make the pid namespace that ends slowly";
  ASSERT_TRUE(program.is_there());
  const Connection connection;
  const UniqueFd pidfd = open_pidfd(HostPid(program.pid()));
  ::kill(program.pid(), SIGKILL);
  std::thread later([&] {
    const int sockets[] = {connection.fd()};
    const SocketKeeper keeper(sockets, pidfd.get());
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(4'500));  // it gives a living program 3 s
  program.collect();
  later.join();
  EXPECT_TRUE(connection.is_silenced());
}

TEST(SocketKeeper, LeavesTheConnectionsOfALivingProgramAlone) {
  const pid_t pid = ::fork();
  if (pid == 0)
    for (;;) ::pause();
  const Connection connection;
  {
    const UniqueFd pidfd = open_pidfd(HostPid(pid));
    const int sockets[] = {connection.fd()};
    const SocketKeeper keeper(sockets, pidfd.get());
  }
  EXPECT_FALSE(connection.is_silenced());
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
}

}  // namespace
}  // namespace mcr::sys
