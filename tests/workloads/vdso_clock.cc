// clock_gettime, gettimeofday, time and getcpu through the vdso in a loop: it never jumps back or fails.
#include <sched.h>
#include <sys/time.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME,
                              CLOCK_REALTIME};
  int64_t last[5]{};
  workload::ready();
  for (unsigned round = 0; round % 512 != 511 || !workload::end_requested(); ++round) {
    for (int i = 0; i < 5; ++i) {
      timespec time{};
      MUST(clock_gettime(clocks[i], &time) == 0);
      int64_t now = workload::ns_of(time);
      if (i != 4 && now < last[i]) workload::fail("clock %d went from %ld back to %ld", clocks[i], last[i], now);
      last[i] = now;
    }
    timeval day{};
    MUST(gettimeofday(&day, nullptr) == 0);
    MUST(llabs(time(nullptr) - day.tv_sec) < 60);
    unsigned cpu = 0, node = 0;
    MUST(getcpu(&cpu, &node) == 0 && cpu < 4096);
    timespec resolution{};
    MUST(clock_getres(CLOCK_MONOTONIC, &resolution) == 0 && resolution.tv_sec == 0);
  }
  return workload::passed();
}
