// Timers that fire all the time: ITIMER_REAL, and a POSIX timer with a handler. Both tick on, at their rate.
#include <sys/time.h>
#include "waiting.h"

namespace {
volatile sig_atomic_t alarms = 0, ticks = 0, wrong = 0;
}

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  struct sigaction action {};
  action.sa_handler = [](int) { alarms = alarms + 1; };
  MUST(sigaction(SIGALRM, &action, nullptr) == 0);
  action.sa_flags = SA_SIGINFO;
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    ticks = ticks + 1 + info->si_overrun;
    if (info->si_code != SI_TIMER || info->si_value.sival_int != 4321) wrong = 1;
  };
  MUST(sigaction(SIGRTMIN + 3, &action, nullptr) == 0);
  itimerval every_10_ms{{0, 10'000}, {0, 10'000}};
  MUST(setitimer(ITIMER_REAL, &every_10_ms, nullptr) == 0);
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGRTMIN + 3;
  event.sigev_value.sival_int = 4321;
  timer_t timer;
  MUST(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
  itimerspec every_7_ms{{0, 7'000'000}, {0, 7'000'000}};
  MUST(timer_settime(timer, 0, &every_7_ms, nullptr) == 0);
  workload::ready("loose pending\nloose masks\n");  // a handler may run, and its signal be blocked, at any moment
  while (!workload::end_requested()) pause();
  // From here on, 350 ms must bring about 35 and 50.
  int alarms_before = alarms, ticks_before = ticks;
  workload::sleep_ms(350);
  int alarmed = alarms - alarms_before, ticked = ticks - ticks_before;
  MUST_BE(wrong, 0);
  if (alarmed < 15 || alarmed > 40) workload::fail("ITIMER_REAL fired %d times in 350 ms, not about 35", alarmed);
  if (ticked < 35 || ticked > 55) workload::fail("the POSIX timer fired %d times in 350 ms, not about 50", ticked);
  return workload::passed();
}
