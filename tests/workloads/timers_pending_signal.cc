// Timers whose signals wait: each such signal keeps its place among the others of its number, in the queue of the
// process and in that of a thread; there is one of each, and its timer goes on in its old rhythm.
#include <pthread.h>

#include "waiting.h"

namespace {

constexpr int kSignal = 40, kThreadSignal = 41;
constexpr int64_t kSecond = 1'000'000'000, kInterval = 3600 * kSecond;
pthread_barrier_t set_up, over;

timer_t create(int signal, int value, pid_t tid = 0) {
  sigevent event{};
  event.sigev_notify = tid ? SIGEV_THREAD_ID : SIGEV_SIGNAL;
  event.sigev_signo = signal;
  event.sigev_value.sival_int = value;
  event._sigev_un._tid = tid;
  timer_t timer;
  MUST(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
  return timer;
}

void fire(timer_t timer, int64_t interval) {
  itimerspec spec{workload::timespec_of(interval), {0, 1'000'000}};
  MUST(timer_settime(timer, 0, &spec, nullptr) == 0);
  workload::sleep_ms(5);
}

void queue(int signal, int value) {
  sigval payload{};
  payload.sival_int = value;
  MUST(sigqueue(getpid(), signal, payload) == 0);
}

void queue_thread(int signal, int value) {
  siginfo_t info{};
  info.si_code = SI_QUEUE;
  info.si_value.sival_int = value;
  MUST(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), signal, &info) == 0);
}

siginfo_t take(int signal, int code, int value) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  siginfo_t info{};
  timespec none{};
  if (sigtimedwait(&set, &info, &none) != signal) workload::fail("signal %d, value %d, is not there", signal, value);
  MUST_BE(info.si_value.sival_int, value);
  MUST_BE(info.si_code, code);
  return info;
}

void none_left(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  timespec none{};
  siginfo_t info{};
  if (sigtimedwait(&set, &info, &none) >= 0)
    workload::fail("signal %d came once too often, code %d, value %d", signal, info.si_code, info.si_value.sival_int);
}

void check_rhythm(timer_t timer, int64_t since) {
  itimerspec now{};
  MUST(timer_gettime(timer, &now) == 0);
  MUST_BE(workload::ns_of(now.it_interval), kInterval);
  workload::check_duration(since, workload::now_ns(), kInterval - workload::ns_of(now.it_value));
}

void* second(void*) {
  timer_t timer = create(kThreadSignal, 12, gettid());
  queue_thread(kThreadSignal, 11);
  fire(timer, kInterval);
  int64_t fired = workload::now_ns();
  queue_thread(kThreadSignal, 13);
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&over);
  take(kThreadSignal, SI_QUEUE, 11);
  MUST_BE(take(kThreadSignal, SI_TIMER, 12).si_overrun, 0);
  take(kThreadSignal, SI_QUEUE, 13);
  none_left(kThreadSignal);
  check_rhythm(timer, fired);
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, kSignal);
  sigaddset(&set, kThreadSignal);
  sigaddset(&set, SIGUSR2);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  pthread_barrier_init(&set_up, nullptr, 2);
  pthread_barrier_init(&over, nullptr, 2);
  pthread_t thread;
  MUST(pthread_create(&thread, nullptr, second, nullptr) == 0);
  pthread_barrier_wait(&set_up);
  timer_t regular = create(kSignal, 2), once = create(kSignal, 4), standard = create(SIGUSR2, 6);
  queue(kSignal, 1);
  fire(regular, kInterval);
  int64_t fired = workload::now_ns();
  queue(kSignal, 3);
  fire(once, 0);
  queue(kSignal, 5);
  fire(standard, 0);
  workload::ready("settle 300\n");
  workload::wait_for_end();
  take(kSignal, SI_QUEUE, 1);
  MUST_BE(take(kSignal, SI_TIMER, 2).si_overrun, 0);
  take(kSignal, SI_QUEUE, 3);
  take(kSignal, SI_TIMER, 4);
  take(kSignal, SI_QUEUE, 5);
  take(SIGUSR2, SI_TIMER, 6);
  none_left(kSignal);
  none_left(SIGUSR2);
  check_rhythm(regular, fired);
  itimerspec now{};
  MUST(timer_gettime(once, &now) == 0);
  MUST_BE(workload::ns_of(now.it_value), 0);
  pthread_barrier_wait(&over);
  pthread_join(thread, nullptr);
  return workload::passed();
}
