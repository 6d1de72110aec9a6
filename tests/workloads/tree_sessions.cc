// Sessions in all orders: a leader whose child was born before it became one, nested sessions, groups of several
// processes with and without their leader, a subreaper below whose daemon sits under a grandchild.
#include "family.h"

using namespace workload;

namespace {

// Waits for SIGTERM, ends the child, and with 5 when all is as it was.
[[noreturn]] void end_with_children(Nursery& nursery, std::initializer_list<pid_t> children) {
  Kin born;
  nursery.grown();
  wait_for_end();
  for (pid_t child : children) {
    int status = 0;
    kill(child, SIGTERM);
    if (waitpid(child, &status, 0) != child || status != 5 << 8) _exit(97);
  }
  _exit(born == Kin() ? 5 : 98);
}

// Forks first, then leaves for a session of its own: the child stays in ours.
[[noreturn]] void leave_child_behind(Nursery& nursery, int generations) {
  pid_t child = fork_child([&] {
    if (generations > 1) leave_child_behind(nursery, generations - 1);
    live(nursery, 5);
  });
  setsid();
  end_with_children(nursery, {child});
}

[[noreturn]] void nest_sessions(Nursery& nursery) {
  setsid();
  pid_t child = fork_child([&] {
    setsid();
    pid_t grandchild = fork_child([&] { live(nursery, 5); });
    end_with_children(nursery, {grandchild});
  });
  end_with_children(nursery, {child});
}

// A subreaper with a daemon whose session lives on below another child.
[[noreturn]] void adopt_daemon(Nursery& nursery) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  pid_t reaper = getpid(), daemon = 0;
  int told[2];
  if (pipe2(told, O_CLOEXEC) != 0) _exit(9);
  pid_t leader = fork_child([&] {
    setsid();
    pid_t between = fork_child([&] {
      pid_t made = fork_child([&] {
        while (getppid() != reaper) sleep_ms(1);
        live(nursery, 5);
      });
      if (write(told[1], &made, sizeof made) != sizeof made) _exit(9);
      _exit(0);
    });
    int status;
    waitpid(between, &status, 0);
    live(nursery, 5);
  });
  if (read(told[0], &daemon, sizeof daemon) != sizeof daemon) _exit(9);
  end_with_children(nursery, {leader, daemon});
}

pid_t fork_into_group(Nursery& nursery, pid_t group) {
  pid_t pid = fork_child([&] {
    setpgid(0, group);
    live(nursery, 5);
  });
  setpgid(pid, group);
  return pid;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  pid_t early = fork_child([&] { leave_child_behind(nursery, 1); });
  pid_t twice = fork_child([&] { leave_child_behind(nursery, 2); });
  pid_t nested = fork_child([&] { nest_sessions(nursery); });
  pid_t first = fork_into_group(nursery, 0), brother = fork_into_group(nursery, first);
  pid_t gone = fork_into_group(nursery, 0);
  pid_t left[2] = {fork_into_group(nursery, gone), fork_into_group(nursery, gone)};
  pid_t reaper = fork_child([&] { adopt_daemon(nursery); });
  nursery.expect(2 + 3 + 3 + 5 + 3);
  expect_end(gone, 5);
  ready();
  wait_for_end();
  if (getpgid(left[0]) != gone || getpgid(left[1]) != gone || getpgid(brother) != first) fail("another group");
  for (pid_t pid : {early, twice, nested, first, brother, left[0], left[1], reaper}) expect_end(pid, 5);
  expect_childless();
  return passed();
}
