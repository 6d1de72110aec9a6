// Inside clock_nanosleep with a relative time on CLOCK_REALTIME and on CLOCK_BOOTTIME in turn.
#include "waiting.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr int64_t kWanted = 1'200'000'000;
  bool boot = false;
  return workload::repeat_wait(kWanted, [&boot] {
    timespec wanted = workload::timespec_of(kWanted);
    boot = !boot;
    MUST_BE(clock_nanosleep(boot ? CLOCK_BOOTTIME : CLOCK_REALTIME, 0, &wanted, nullptr), 0);
  });
}
