// Timers of CPU time that are not armed, but keep their interval, stay so: armed, they would end the program by their
// default action.
#include <sys/time.h>

#include "waiting.h"

namespace {

void expect_disarmed(__itimer_which which) {
  itimerval now{};
  MUST(getitimer(which, &now) == 0);
  MUST_BE(now.it_value.tv_sec * 1'000'000 + now.it_value.tv_usec, 0);
  MUST_BE(now.it_interval.tv_sec, 0);
  MUST_BE(now.it_interval.tv_usec, 10'000);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const itimerval disarmed{{0, 10'000}, {0, 0}};
  for (auto which : {ITIMER_PROF, ITIMER_VIRTUAL}) {
    MUST(setitimer(which, &disarmed, nullptr) == 0);
    expect_disarmed(which);
  }
  workload::ready();
  workload::wait_for_end();
  for (int64_t end = workload::now_ns(CLOCK_PROCESS_CPUTIME_ID) + 100'000'000;
       workload::now_ns(CLOCK_PROCESS_CPUTIME_ID) < end;) {
  }
  for (auto which : {ITIMER_PROF, ITIMER_VIRTUAL}) expect_disarmed(which);
  return workload::passed();
}
