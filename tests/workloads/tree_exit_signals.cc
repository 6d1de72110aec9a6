// Children that announce their end by another signal than SIGCHLD, or by none (clone(2)).
#include <sched.h>

#include "family.h"

using namespace workload;

namespace {
pid_t clone_child(int signal, Nursery& nursery) {
  pid_t pid = static_cast<pid_t>(syscall(SYS_clone, signal, 0, 0, 0, 0));
  if (pid < 0) fail("clone: %s", strerror(errno));
  if (pid == 0) live(nursery, 5);
  return pid;
}
}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGUSR1, SIGRTMIN + 3, SIGCHLD}) sigaddset(&set, signal);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  pid_t user = clone_child(SIGUSR1, nursery), realtime = clone_child(SIGRTMIN + 3, nursery),
        none = clone_child(0, nursery);
  nursery.expect(3);
  ready();
  wait_for_end();
  expect_end(none, 5);
  sigset_t pending;
  sigpending(&pending);
  for (int signal : {SIGUSR1, SIGRTMIN + 3, SIGCHLD})
    if (sigismember(&pending, signal)) fail("signal %d is pending", signal);
  expect_end(user, 5);
  expect_end(realtime, 5);
  for (int signal : {SIGUSR1, SIGRTMIN + 3}) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signal);
    timespec limit{1, 0};
    siginfo_t info{};
    if (sigtimedwait(&one, &info, &limit) != signal) fail("signal %d did not come", signal);
    if (info.si_pid != (signal == SIGUSR1 ? user : realtime)) fail("signal %d came from %d", signal, info.si_pid);
  }
  sigpending(&pending);
  if (sigismember(&pending, SIGCHLD)) fail("SIGCHLD is pending");
  expect_childless();
  return passed();
}
