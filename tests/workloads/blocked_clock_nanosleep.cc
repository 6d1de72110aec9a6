// Inside clock_nanosleep: until a moment of CLOCK_MONOTONIC, which passes whether the program exists or not.
#include "waiting.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  workload::ready("settle 600\n");
  for (int i = 0; i < 200; ++i) {
    int64_t end = workload::now_ns() + 1'200'000'000;
    timespec until = workload::timespec_of(end);
    MUST_BE(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr), 0);
    int64_t woke = workload::now_ns();
    if (woke < end) workload::fail("woke %.3f s too early", (end - woke) / 1e9);
    bool over = workload::end_requested();
    if (over) {
      workload::wait_for_end();
      workload::Gone gone = workload::gone_between(end - 1'200'000'000, woke);
      if (woke > end + gone.most + workload::kLateNs) workload::fail("woke %.3f s too late", (woke - end) / 1e9);
      return workload::passed();
    }
  }
  workload::fail("SIGTERM never came");
}
