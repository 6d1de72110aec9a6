// Standing in for a restored program: which signals are passed on, and how its end is told.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "core/sys/process.h"
#include "core/sys/supervise.h"
#include "tools/foreground.h"
#include "tools/pid_file.h"

namespace mcr::cli {
namespace {

using What = sys::ChildChange::What;

TEST(Supervise, ChangesComeFromTheSignalInformation) {
  EXPECT_EQ(sys::change_of(CLD_EXITED, 3).what, What::exited);
  EXPECT_EQ(sys::change_of(CLD_EXITED, 3).number, 3);
  EXPECT_EQ(sys::change_of(CLD_KILLED, SIGTERM).what, What::killed);
  EXPECT_EQ(sys::change_of(CLD_DUMPED, SIGSEGV).what, What::killed);
  EXPECT_EQ(sys::change_of(CLD_DUMPED, SIGSEGV).number, SIGSEGV);
  EXPECT_EQ(sys::change_of(CLD_STOPPED, SIGTSTP).what, What::stopped);
  EXPECT_EQ(sys::change_of(CLD_CONTINUED, SIGCONT).what, What::continued);
}

TEST(Foreground, WhatTheTerminalSentToBothIsNotSentAgain) {
  EXPECT_FALSE(is_passed_on({SIGINT, true}, true));
  EXPECT_TRUE(is_passed_on({SIGINT, true}, false));
  EXPECT_TRUE(is_passed_on({SIGINT, false}, true));
  EXPECT_TRUE(is_passed_on({SIGTERM, false}, false));
  EXPECT_FALSE(is_passed_on({SIGCHLD, false}, false));
  EXPECT_FALSE(is_passed_on({SIGCONT, false}, false));
}

// Forks a stand-in for mini-criu that follows a child running `program`; returns the stand-in's wait status.
template <typename Program, typename Meanwhile>
int status_of_follower(Program program, Meanwhile meanwhile) {
  const pid_t follower = ::fork();
  if (follower == 0) {
    Foreground foreground;
    const pid_t child = ::fork();
    if (child == 0) {
      ::setpgid(0, 0);
      program();
      ::_exit(99);
    }
    ::setpgid(child, child);
    const UniqueFd pidfd = sys::open_pidfd(HostPid(child));
    const sys::ChildChange end = foreground.follow(HostPid(child), pidfd.get());
    if (end.what == What::killed) sys::end_by_signal(end.number);
    ::_exit(end.number);
  }
  meanwhile(follower);
  int status = 0;
  EXPECT_EQ(::waitpid(follower, &status, 0), follower);
  return status;
}

void allow_all_signals() {
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

TEST(Foreground, PassesTheExitStatusOn) {
  const int status = status_of_follower([] { ::_exit(7); }, [](pid_t) {});
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST(Foreground, DiesAsTheProgramDied) {
  for (int number : {SIGKILL, SIGSEGV, SIGTERM, SIGPIPE}) {
    const int status = status_of_follower(
        [&] {
          allow_all_signals();
          ::signal(number, SIG_DFL);
          ::raise(number);
        },
        [](pid_t) {});
    ASSERT_TRUE(WIFSIGNALED(status)) << number;
    EXPECT_EQ(WTERMSIG(status), number);
    EXPECT_FALSE(WCOREDUMP(status));
  }
}

TEST(Foreground, PassesASignalOn) {
  const int status = status_of_follower(
      [] {
        ::signal(SIGUSR1, [](int) { ::_exit(42); });
        allow_all_signals();
        for (;;) ::pause();
      },
      [](pid_t follower) {
        ::usleep(200'000);
        ::kill(follower, SIGUSR1);
      });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST(Foreground, StopsAndGoesOnWithTheProgram) {
  const int status = status_of_follower(
      [] {
        allow_all_signals();
        ::raise(SIGSTOP);
        ::_exit(8);
      },
      [](pid_t follower) {
        int stopped = 0;
        ASSERT_EQ(::waitpid(follower, &stopped, WUNTRACED), follower);
        EXPECT_TRUE(WIFSTOPPED(stopped));
        ::kill(follower, SIGCONT);
      });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 8);
}

TEST(PidFile, AppearsCompleteOrNotAtAll) {
  char name[] = "/tmp/mini-criu-pid-XXXXXX";
  const std::filesystem::path folder = ::mkdtemp(name);
  const std::string path = folder / "pid";
  { const PidFile unpublished(path); }
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  {
    PidFile file(path);
    file.publish(HostPid(4711));
  }
  std::string text;
  std::ifstream(path) >> text;
  EXPECT_EQ(text, "4711");
  EXPECT_THROW(PidFile{path}, Error);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace mcr::cli
