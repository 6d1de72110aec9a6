// Parents and children, three generations: a worker pool, a grandchild, a child in a group of its own, one with a
// session of its own. All count in memory of their own, and each answers to its parent only.
#include <sys/wait.h>

#include "contract.h"

using namespace workload;

namespace {

struct Report {
  pid_t pid, parent, group, session;
  int counter;
};

int result_pipe[2];

void verify_child(const Report& born, int counter) {
  if (getpid() != born.pid || getppid() != born.parent) _exit(10);
  if (getpgid(0) != born.group || getsid(0) != born.session) _exit(11);
  if (counter != born.counter) _exit(12);
}

// Waits for SIGTERM, then ends with `code` when it is what it was.
[[noreturn]] void live(int code, int counter) {
  Report born{getpid(), getppid(), getpgid(0), getsid(0), counter};
  char byte = 1;
  if (write(result_pipe[1], &byte, 1) != 1) _exit(9);
  wait_for_end();
  verify_child(born, counter);
  _exit(code);
}

void expect_end(pid_t pid, int code) {
  if (kill(pid, SIGTERM) != 0) fail("kill %d: %s", pid, strerror(errno));
  int status = 0;
  if (waitpid(pid, &status, 0) != pid) fail("waitpid %d: %s", pid, strerror(errno));
  if (!WIFEXITED(status) || WEXITSTATUS(status) != code) fail("child %d ended with %x, not %d", pid, status, code);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  if (pipe2(result_pipe, O_CLOEXEC) != 0) fail("pipe: %s", strerror(errno));
  pid_t self = getpid(), workers[4], parent, group, session;
  for (int i = 0; i < 4; ++i)
    if ((workers[i] = fork()) == 0) live(20 + i, i * 7);
  if ((parent = fork()) == 0) {
    pid_t grandchild = fork();
    if (grandchild == 0) live(31, 99);
    Report born{getpid(), getppid(), getpgid(0), getsid(0), 5};
    char byte = 1;
    if (write(result_pipe[1], &byte, 1) != 1) _exit(9);
    wait_for_end();
    verify_child(born, 5);
    kill(grandchild, SIGTERM);
    int status = 0;
    if (waitpid(grandchild, &status, 0) != grandchild || !WIFEXITED(status) || WEXITSTATUS(status) != 31) _exit(13);
    _exit(30);
  }
  if ((group = fork()) == 0) {
    setpgid(0, 0);
    live(40, 1);
  }
  if ((session = fork()) == 0) {
    setsid();
    live(50, 2);
  }
  for (int i = 0; i < 8; ++i) {
    char byte;
    if (read(result_pipe[0], &byte, 1) != 1) fail("a child ended early");
  }
  ready();
  wait_for_end();
  if (getpid() != self) fail("another pid");
  for (int i = 0; i < 4; ++i) expect_end(workers[i], 20 + i);
  expect_end(parent, 30);
  expect_end(group, 40);
  expect_end(session, 50);
  if (waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD) fail("there is another child");
  return passed();
}
