// A timer of its thread's CPU time has expired, once, and its signal waits to be taken: it is taken, as that timer's.
#include "waiting.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGUSR2;
  event.sigev_value.sival_int = 4711;
  timer_t timer;
  MUST(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0);
  itimerspec once{{0, 0}, {0, 1'000'000}}, now{};
  MUST(timer_settime(timer, 0, &once, nullptr) == 0);
  const auto is_pending = [] {
    sigset_t pending;
    return sigpending(&pending) == 0 && sigismember(&pending, SIGUSR2) == 1;
  };
  while (!is_pending()) {
  }
  MUST(timer_gettime(timer, &now) == 0);
  MUST_BE(workload::ns_of(now.it_value), 0);
  workload::ready();
  workload::wait_for_end();
  siginfo_t info{};
  const timespec none{0, 0};
  MUST_BE(sigtimedwait(&set, &info, &none), SIGUSR2);
  MUST_BE(info.si_code, SI_TIMER);
  MUST_BE(info.si_value.sival_int, 4711);
  MUST_BE(sigtimedwait(&set, &info, &none), -1);
  // It measures what it measured, and goes on to do so.
  MUST(timer_settime(timer, 0, &once, nullptr) == 0);
  while (!is_pending()) {
  }
  return workload::passed();
}
