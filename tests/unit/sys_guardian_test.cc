#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "core/sys/guardian.h"
#include "core/sys/process.h"

namespace mcr::sys {
namespace {

// A process that waits to be killed.
class Sleeper {
 public:
  Sleeper() : pid_(::fork()) {
    if (pid_ == 0)
      for (;;) ::pause();
    pidfd_ = open_pidfd(HostPid(pid_));
  }
  ~Sleeper() {
    if (status_ != -1) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  int pidfd() const { return pidfd_.get(); }
  bool was_killed() {
    if (::waitpid(pid_, &status_, 0) != pid_) return false;
    return WIFSIGNALED(status_) && WTERMSIG(status_) == SIGKILL;
  }
  bool lives() { return ::waitpid(pid_, &status_, WNOHANG) == 0 ? (status_ = -1, true) : false; }

 private:
  pid_t pid_;
  UniqueFd pidfd_;
  int status_ = -1;
};

TEST(Guardian, KillsAllUnlessToldOtherwise) {
  Sleeper a, b;
  {
    const int pidfds[] = {a.pidfd(), b.pidfd()};
    const Guardian guardian(pidfds);
  }
  EXPECT_TRUE(a.was_killed());
  EXPECT_TRUE(b.was_killed());
}

TEST(Guardian, LetsThemLiveAfterTheCommit) {
  Sleeper a;
  {
    const int pidfds[] = {a.pidfd()};
    Guardian guardian(pidfds);
    guardian.commit();
  }
  EXPECT_TRUE(a.lives());
}

TEST(Guardian, KillsWhenItsMakerIsKilled) {
  Sleeper a;
  const pid_t maker = ::fork();
  if (maker == 0) {
    const int pidfds[] = {a.pidfd()};
    const Guardian guardian(pidfds);
    ::raise(SIGKILL);
  }
  ::waitpid(maker, nullptr, 0);
  EXPECT_TRUE(a.was_killed());
}

// As `timeout -s KILL` and a shell's `kill -9 %1` do.
TEST(Guardian, KillsWhenTheGroupOfItsMakerIsKilled) {
  Sleeper a;
  const pid_t maker = ::fork();
  if (maker == 0) {
    ::setpgid(0, 0);
    const int pidfds[] = {a.pidfd()};
    const Guardian guardian(pidfds);
    ::kill(0, SIGSTOP);
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(maker, &status, WUNTRACED), maker);
  ASSERT_TRUE(WIFSTOPPED(status));
  ::kill(-maker, SIGKILL);
  ::waitpid(maker, nullptr, 0);
  EXPECT_TRUE(a.was_killed());
}

}  // namespace
}  // namespace mcr::sys
