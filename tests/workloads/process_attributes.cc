// What prctl sets: name, parent-death signal, dumpable, child subreaper, timer slack, no_new_privs, transparent huge
// pages off.
#include <sys/prctl.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  MUST(prctl(PR_SET_NAME, "renamed one") == 0);
  MUST(prctl(PR_SET_PDEATHSIG, SIGUSR1) == 0);
  MUST(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
  MUST(prctl(PR_SET_TIMERSLACK, 123'456) == 0);
  MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  MUST(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
  MUST(prctl(PR_SET_DUMPABLE, 0) == 0);
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;  // the parent of a restored program changes
  MUST(sigaction(SIGUSR1, &ignore, nullptr) == 0);
  workload::ready();
  workload::wait_for_end();
  char name[17] = "";
  MUST(prctl(PR_GET_NAME, name) == 0);
  MUST(strcmp(name, "renamed one") == 0);
  int value = -1;
  MUST(prctl(PR_GET_PDEATHSIG, &value) == 0);
  MUST_BE(value, SIGUSR1);
  MUST(prctl(PR_GET_CHILD_SUBREAPER, &value) == 0);
  MUST_BE(value, 1);
  MUST_BE(prctl(PR_GET_TIMERSLACK), 123'456);
  MUST_BE(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
  MUST_BE(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
  MUST_BE(prctl(PR_GET_DUMPABLE), 0);
  return workload::passed();
}
