// The three interval timers: armed far away, their remaining time goes on from where it was.
#include <sys/time.h>

#include "waiting.h"

namespace {
int64_t us_of(const timeval& time) {
  return time.tv_sec * 1'000'000LL + time.tv_usec;
}
}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const int kinds[] = {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF};
  for (int kind : kinds) {
    itimerval value{{50 + kind, 250'000}, {1000 + kind, 500'000}};
    MUST(setitimer(kind, &value, nullptr) == 0);
  }
  int64_t start = workload::now_ns();
  workload::ready("settle 300\n");
  workload::wait_for_end();
  for (int kind : kinds) {
    itimerval value{};
    MUST(getitimer(kind, &value) == 0);
    int64_t end = workload::now_ns();
    MUST_BE(us_of(value.it_interval), (50 + kind) * 1'000'000 + 250'000);
    int64_t set = (1000 + kind) * 1'000'000LL + 500'000;
    int64_t run_off = set - us_of(value.it_value);
    if (kind == ITIMER_REAL) {
      workload::check_duration(start, end, run_off * 1000);
    } else if (run_off < -20'000 || run_off > 2'000'000) {  // it counts the little processor time used here
      workload::fail("timer %d ran off by %.3f s", kind, run_off / 1e6);
    }
  }
  return workload::passed();
}
