// Filters installed by root without no_new_privs, by a program that became another user then: such filters can only be
// installed with rights that it has no more. And it forbids what changes users.
#include <grp.h>

#include "seccomp.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  if (geteuid() != 0) workload::skip("needs root");
  if (install_filter(SYS_mkdir, SECCOMP_RET_ERRNO | EDOM) != 0) workload::skip("this kernel has no seccomp filters");
  MUST(setgroups(0, nullptr) == 0);
  MUST(setgid(65534) == 0);
  MUST(setuid(65534) == 0);
  for (int round = 0; round < 2; ++round) {
    MUST_BE(error_of(SYS_mkdir), EDOM);
    MUST_BE(getuid(), 65534);
    MUST_BE(value_in_status("Seccomp"), 2);
    MUST_BE(value_in_status("NoNewPrivs"), 0);
    if (round == 1) break;
    workload::ready();
    workload::wait_for_end();
  }
  return workload::passed();
}
