// For workloads with children.
#pragma once

#include <sys/prctl.h>
#include <sys/wait.h>

#include <functional>

#include "contract.h"

namespace workload {

// A pipe over which children say that they are set up.
class Nursery {
 public:
  Nursery() {
    if (pipe2(fds_, O_CLOEXEC) != 0) fail("pipe: %s", strerror(errno));
  }
  void grown() {
    char byte = 1;
    if (write(fds_[1], &byte, 1) != 1) _exit(9);
  }
  void expect(int count) {
    for (int i = 0; i < count; ++i) {
      char byte;
      if (read(fds_[0], &byte, 1) != 1) fail("a child ended early");
    }
  }

 private:
  int fds_[2];
};

struct Kin {
  pid_t pid = getpid(), parent = getppid(), group = getpgid(0), session = getsid(0);
  bool operator==(const Kin&) const = default;
};

inline pid_t fork_child(const std::function<void()>& life) {
  pid_t pid = fork();
  if (pid < 0) fail("fork: %s", strerror(errno));
  if (pid != 0) return pid;
  life();
  _exit(99);
}

// Says that it is there, waits for SIGTERM, and ends with `code` if its kin are what they were.
[[noreturn]] inline void live(Nursery& nursery, int code) {
  Kin born;
  nursery.grown();
  wait_for_end();
  _exit(born == Kin() ? code : 98);
}

inline void expect_status(pid_t pid, int wanted) {
  int status = 0;
  if (waitpid(pid, &status, __WALL) != pid) fail("waitpid %d: %s", pid, strerror(errno));
  if (status != wanted) fail("child %d ended with status %x, not %x", pid, status, wanted);
}

inline void expect_end(pid_t pid, int code) {
  if (kill(pid, SIGTERM) != 0) fail("kill %d: %s", pid, strerror(errno));
  expect_status(pid, code << 8);
}

inline void expect_childless() {
  if (waitpid(-1, nullptr, WNOHANG | __WALL) != -1 || errno != ECHILD) fail("there is another child");
}

}  // namespace workload
