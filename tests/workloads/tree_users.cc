// A family whose members run under different users: the parent as it was started, children as two others.
#include <grp.h>

#include "family.h"

using namespace workload;

namespace {

pid_t child_of(uid_t user, Nursery& nursery) {
  return fork_child([&, user] {
    if (setgroups(0, nullptr) != 0 || setresgid(user, user, user) != 0 || setresuid(user, user, user) != 0) _exit(8);
    prctl(PR_SET_DUMPABLE, 1);  // as an exec would make it
    nursery.grown();
    wait_for_end();
    uid_t real, effective, saved;
    if (getresuid(&real, &effective, &saved) != 0 || real != user || effective != user || saved != user) _exit(97);
    if (getgid() != user || getgroups(0, nullptr) != 0) _exit(96);
    _exit(setuid(0) != 0 ? 5 : 95);
  });
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  if (getuid() != 0) skip("only root becomes another user\n");
  Nursery nursery;
  const pid_t first = child_of(65534, nursery), second = child_of(1234, nursery);
  nursery.expect(2);
  ready();
  wait_for_end();
  if (getuid() != 0) fail("the parent changed its user");
  for (pid_t pid : {first, second}) {
    if (kill(pid, SIGTERM) != 0) fail("kill: %s", strerror(errno));
    expect_status(pid, 5 << 8);
  }
  expect_childless();
  return passed();
}
