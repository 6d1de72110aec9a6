// Daemons below a subreaper: their parent and the leader of their session have ended, they belong to the root now.
#include "family.h"

using namespace workload;

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) fail("prctl: %s", strerror(errno));
  int told[2];
  if (pipe2(told, O_CLOEXEC) != 0) fail("pipe: %s", strerror(errno));
  // Twice forked, as daemons are: session and group of the one in between, two daemons in one session.
  pid_t between = fork_child([&] {
    setsid();
    for (int i = 0; i < 2; ++i) {
      pid_t daemon = fork_child([&] {
        while (getppid() == getpgid(0)) sleep_ms(1);
        live(nursery, 61);
      });
      if (write(told[1], &daemon, sizeof daemon) != sizeof daemon) _exit(9);
    }
    _exit(0);
  });
  expect_status(between, 0);
  // One that leaves an orphan in the session of the root, in a group whose leader is gone.
  pid_t second = fork_child([&] {
    setpgid(0, 0);
    pid_t orphan = fork_child([&] {
      while (getppid() == getpgid(0)) sleep_ms(1);
      live(nursery, 61);
    });
    if (write(told[1], &orphan, sizeof orphan) != sizeof orphan) _exit(9);
    _exit(0);
  });
  expect_status(second, 0);
  pid_t daemons[3];
  if (read(told[0], daemons, sizeof daemons) != sizeof daemons) fail("no daemons");
  nursery.expect(3);
  if (getsid(daemons[0]) != between || getpgid(daemons[2]) != second) fail("the daemons are not what they should be");
  ready();
  wait_for_end();
  for (int i = 0; i < 2; ++i)
    if (getsid(daemons[i]) != between || getpgid(daemons[i]) != between) fail("a daemon changed its session");
  if (getsid(daemons[2]) != getpid() || getpgid(daemons[2]) != second) fail("the orphan changed its group");
  for (pid_t daemon : daemons) expect_end(daemon, 61);
  expect_childless();
  return passed();
}
