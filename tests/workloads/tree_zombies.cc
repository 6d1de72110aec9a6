// Children that have ended and were not waited for: their ends can be collected later, and are announced only once.
#include "family.h"

using namespace workload;

namespace {
volatile sig_atomic_t announced = 0;
}

int main(int argc, char** argv) {
  begin(argc, argv);
  struct sigaction action {};
  action.sa_handler = [](int) { announced = announced + 1; };
  action.sa_flags = SA_RESTART;
  sigaction(SIGCHLD, &action, nullptr);
  pid_t good = fork_child([] { _exit(0); });
  siginfo_t info;
  waitid(P_PID, good, &info, WEXITED | WNOWAIT);
  pid_t bad = fork_child([] {
    prctl(PR_SET_NAME, "bad one");
    _exit(77);
  });
  waitid(P_PID, bad, &info, WEXITED | WNOWAIT);
  pid_t killed = fork_child([] { raise(SIGKILL); });
  waitid(P_PID, killed, &info, WEXITED | WNOWAIT);
  pid_t ended = fork_child([] {
    setpgid(0, 0);
    raise(SIGUSR2);
  });
  waitid(P_PID, ended, &info, WEXITED | WNOWAIT);
  pid_t session = fork_child([] {
    setsid();
    _exit(3);
  });
  waitid(P_PID, session, &info, WEXITED | WNOWAIT);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sleep_ms(20);
  int before = announced;
  if (before == 0) fail("no SIGCHLD at all");
  ready();
  wait_for_end();
  if (announced != before) fail("SIGCHLD came %d times more", announced - before);
  sigset_t pending;
  sigpending(&pending);
  if (sigismember(&pending, SIGCHLD)) fail("SIGCHLD is pending");
  if (waitid(P_PID, killed, &info, WEXITED | WNOWAIT) != 0) fail("waitid: %s", strerror(errno));
  if (info.si_code != CLD_KILLED || info.si_status != SIGKILL || info.si_pid != killed) fail("another siginfo");
  expect_status(good, 0);
  expect_status(bad, 77 << 8);
  expect_status(killed, SIGKILL);
  expect_status(ended, SIGUSR2);
  expect_status(session, 3 << 8);
  expect_childless();
  return passed();
}
