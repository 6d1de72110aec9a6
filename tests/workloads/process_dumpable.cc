// A program whose credentials have changed is undumpable: nobody but root may look into it, and it has no core file.
#include <grp.h>
#include <sys/prctl.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  MUST(setgroups(0, nullptr) == 0);
  MUST(setresgid(65534, 65534, 65534) == 0);
  MUST(setresuid(65534, 65534, 65534) == 0);
  int before = prctl(PR_GET_DUMPABLE);  // what fs.suid_dumpable says
  MUST(access("/proc/self/environ", R_OK) != 0 || before == 1);
  workload::ready();
  workload::wait_for_end();
  MUST_BE(prctl(PR_GET_DUMPABLE), before);
  MUST_BE(getuid(), 65534);
  return workload::passed();
}
