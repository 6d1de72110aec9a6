// Resource limits, soft and hard.
#include <sys/resource.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  rlimit limit{};
  MUST(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  limit.rlim_cur = 123;
  MUST(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  limit = {1 << 20, 2 << 20};
  MUST(setrlimit(RLIMIT_CORE, &limit) == 0);
  limit = {5 << 20, RLIM_INFINITY};
  getrlimit(RLIMIT_STACK, &limit);
  limit.rlim_cur = 5 << 20;
  MUST(setrlimit(RLIMIT_STACK, &limit) == 0);
  limit = {0, 0};
  MUST(setrlimit(RLIMIT_MSGQUEUE, &limit) == 0);
  rlimit before[RLIM_NLIMITS], after{};
  for (int i = 0; i < static_cast<int>(RLIM_NLIMITS); ++i)
    MUST(getrlimit(static_cast<__rlimit_resource>(i), &before[i]) == 0);
  workload::ready();
  workload::wait_for_end();
  for (int i = 0; i < static_cast<int>(RLIM_NLIMITS); ++i) {
    MUST(getrlimit(static_cast<__rlimit_resource>(i), &after) == 0);
    MUST_BE(after.rlim_cur, before[i].rlim_cur);
    MUST_BE(after.rlim_max, before[i].rlim_max);
  }
  return workload::passed();
}
