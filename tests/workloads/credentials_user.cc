// A program that gave up root: real, effective and saved ids all different, supplementary groups, no capabilities.
#include <grp.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  if (geteuid() != 0) workload::skip("changing user needs root");
  const gid_t groups[] = {7, 1000, 2000, 70000};
  MUST(setgroups(4, groups) == 0);
  MUST(setresgid(1000, 1001, 1002) == 0);
  MUST(setresuid(1000, 1001, 1002) == 0);
  std::string status = workload::read_file("/proc/self/status");
  workload::ready();
  workload::wait_for_end();
  uid_t real, effective, saved;
  MUST(getresuid(&real, &effective, &saved) == 0);
  MUST(real == 1000 && effective == 1001 && saved == 1002);
  MUST(getresgid(&real, &effective, &saved) == 0);
  MUST(real == 1000 && effective == 1001 && saved == 1002);
  gid_t now[16];
  MUST_BE(getgroups(16, now), 4);
  for (int i = 0; i < 4; ++i) MUST_BE(now[i], groups[i]);
  MUST(setresuid(0, 0, 0) == -1);
  MUST(seteuid(1002) == 0);
  return workload::passed();
}
