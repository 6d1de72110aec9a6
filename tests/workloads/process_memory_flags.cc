// What prctl says of a whole process' memory and of its treatment: no huge pages but where they are asked for, merging
// of equal pages, memory errors, timer ids, memory-deny-write-execute without inheritance.
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "contract.h"

namespace {
constexpr int kThpExceptAdvised = 2;                             // PR_THP_DISABLE_EXCEPT_ADVISED, 6.18
constexpr int kSetMdwe = 65, kGetMdwe = 66, kMdwe = 3;           // PR_MDWE_REFUSE_EXEC_GAIN | PR_MDWE_NO_INHERIT
constexpr int kSetMemoryMerge = 67, kGetMemoryMerge = 68;        // PR_SET_MEMORY_MERGE, 6.4
constexpr int kTimerRestoreIds = 77, kTimerRestoreIdsWhich = 2;  // PR_TIMER_CREATE_RESTORE_IDS, 6.15
bool thp_flags = false, merges = false, restores_ids = false, mdwe = false;
}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  thp_flags = prctl(PR_SET_THP_DISABLE, 1, kThpExceptAdvised, 0, 0) == 0;
  if (!thp_flags) MUST(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
  merges = prctl(kSetMemoryMerge, 1, 0, 0, 0) == 0;
  restores_ids = prctl(kTimerRestoreIds, 1, 0, 0, 0) == 0;
  mdwe = prctl(kSetMdwe, kMdwe, 0, 0, 0) == 0;
  MUST(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0) == 0);
  workload::ready();
  workload::wait_for_end();
  MUST_BE(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), thp_flags ? 3 : 1);
  MUST_BE(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), PR_MCE_KILL_EARLY);
  if (merges) MUST_BE(prctl(kGetMemoryMerge, 0, 0, 0, 0), 1);
  if (restores_ids) MUST_BE(prctl(kTimerRestoreIds, kTimerRestoreIdsWhich, 0, 0, 0), 1);
  if (mdwe) {
    MUST_BE(prctl(kGetMdwe, 0, 0, 0, 0), kMdwe);
    void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(mprotect(memory, 4096, PROT_READ | PROT_EXEC) != 0);
  }
  return workload::passed();
}
