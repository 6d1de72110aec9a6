// Interval timers of CPU time go on with what is left; ITIMER_REAL that has expired stands still until its signal is
// taken, which happens once, and then goes on.
#include <sys/time.h>

#include "waiting.h"

namespace {

void expect(int which, int64_t from, int64_t to) {
  itimerval now{};
  MUST(getitimer(static_cast<__itimer_which>(which), &now) == 0);
  int64_t left = now.it_value.tv_sec * 1'000'000 + now.it_value.tv_usec;
  if (left < from || left > to) workload::fail("interval timer %d has %lld us left", which, (long long)left);
}

bool take(int64_t wait_ns) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGALRM);
  timespec limit = workload::timespec_of(wait_ns);
  return sigtimedwait(&set, nullptr, &limit) == SIGALRM;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGALRM);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  itimerval real{{400, 0}, {0, 1000}}, cpu{{7, 0}, {300, 0}};
  MUST(setitimer(ITIMER_REAL, &real, nullptr) == 0);
  MUST(setitimer(ITIMER_VIRTUAL, &cpu, nullptr) == 0);
  cpu.it_value.tv_sec = 200;
  MUST(setitimer(ITIMER_PROF, &cpu, nullptr) == 0);
  workload::sleep_ms(20);
  expect(ITIMER_REAL, 0, 0);
  workload::ready();
  workload::wait_for_end();
  expect(ITIMER_VIRTUAL, 298'000'000, 300'100'000);
  expect(ITIMER_PROF, 198'000'000, 200'100'000);
  expect(ITIMER_REAL, 0, 0);
  MUST(take(0));
  MUST(!take(10'000'000));
  expect(ITIMER_REAL, 300'000'000, 400'000'000);
  return workload::passed();
}
