// timer_getoverrun: the count that belongs to the signal taken last is there until the next one is taken.
#include "waiting.h"

namespace {
constexpr int64_t kSecond = 1'000'000'000;

// One that has expired `count` times too often when its signal is taken, and expires again in half an interval.
timer_t overrun(clockid_t clock, int signal, int count, int64_t interval) {
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = signal;
  timer_t timer;
  MUST(timer_create(clock, &event, &timer) == 0);
  int64_t first = workload::now_ns(clock) - count * interval - interval / 2;
  itimerspec spec{workload::timespec_of(interval), workload::timespec_of(first)};
  MUST(timer_settime(timer, TIMER_ABSTIME, &spec, nullptr) == 0);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  siginfo_t info{};
  MUST_BE(sigwaitinfo(&set, &info), signal);
  MUST_BE(info.si_overrun, count);
  return timer;
}
}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {40, 41}) sigaddset(&set, signal);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  if (workload::now_ns() < 200 * kSecond) workload::skip("the machine has been up for less than 200 s");
  timer_t first = overrun(CLOCK_MONOTONIC, 40, 3, 40 * kSecond);
  timer_t second = overrun(CLOCK_REALTIME, 41, 123'456, 100 * kSecond);
  int64_t start = workload::now_ns();
  workload::ready("settle 300\n");
  workload::wait_for_end();
  MUST_BE(timer_getoverrun(first), 3);
  MUST_BE(timer_getoverrun(second), 123'456);
  sigset_t pending;
  sigpending(&pending);
  MUST_BE(sigismember(&pending, 40), 0);
  MUST_BE(sigismember(&pending, 41), 0);
  itimerspec now{};
  MUST(timer_gettime(first, &now) == 0);
  workload::check_duration(start, workload::now_ns(), 20 * kSecond - workload::ns_of(now.it_value));
  MUST(timer_gettime(second, &now) == 0);
  workload::check_duration(start, workload::now_ns(), 50 * kSecond - workload::ns_of(now.it_value));
  return workload::passed();
}
