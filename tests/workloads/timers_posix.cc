// POSIX timers: ids with gaps, every kind of notification, two clocks, armed and not, overruns that wait to be read.
#include <pthread.h>

#include "waiting.h"

namespace {

struct Made {
  timer_t id;
  int notify, clock;
  int64_t value_ns, interval_ns;
};

pthread_barrier_t set_up, over;
pid_t second_tid = 0;
timer_t overrunning;

void* second(void*) {
  second_tid = gettid();
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&over);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 5);
  siginfo_t info{};
  timespec limit{2, 0};
  MUST_BE(sigtimedwait(&set, &info, &limit), SIGRTMIN + 5);  // goes to this thread
  MUST_BE(info.si_code, SI_TIMER);
  MUST_BE(info.si_value.sival_int, 1234);
  return nullptr;
}

int kernel_id(timer_t timer) {
  return static_cast<int>(reinterpret_cast<intptr_t>(timer));
}

timer_t create(int clock, int notify, int signal, int value, pid_t tid) {
  sigevent event{};
  event.sigev_notify = notify;
  event.sigev_signo = signal;
  event.sigev_value.sival_int = value;
  if (tid) event._sigev_un._tid = tid;
  timer_t timer;
  MUST(timer_create(clock, &event, &timer) == 0);
  return timer;
}

void arm(timer_t timer, int64_t value_ns, int64_t interval_ns) {
  itimerspec spec{workload::timespec_of(interval_ns), workload::timespec_of(value_ns)};
  MUST(timer_settime(timer, 0, &spec, nullptr) == 0);
}

void expect_overruns(const sigset_t& set) {
  workload::sleep_ms(60);
  int overruns = 0;
  for (int i = 0; i < 2; ++i) {  // a restore may bring back the pending signal and start the timer anew
    siginfo_t info{};
    timespec limit{1, 0};
    MUST_BE(sigtimedwait(&set, &info, &limit), SIGRTMIN + 4);
    MUST_BE(info.si_code, SI_TIMER);
    MUST_BE(info.si_value.sival_int, 55);
    if (info.si_overrun > overruns) overruns = info.si_overrun;
  }
  if (overruns < 20) workload::fail("%d overruns only", overruns);
}

void expect_on_time(const Made& timer, int64_t start) {
  itimerspec now{};
  if (timer_gettime(timer.id, &now) != 0) workload::fail("timer %d is gone", kernel_id(timer.id));
  int64_t end = workload::now_ns();
  MUST_BE(workload::ns_of(now.it_interval), timer.interval_ns);
  if (timer.value_ns == 0) {
    MUST_BE(workload::ns_of(now.it_value), 0);
  } else {
    workload::check_duration(start, end, timer.value_ns - workload::ns_of(now.it_value));
  }
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 4);
  sigaddset(&set, SIGRTMIN + 5);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  pthread_barrier_init(&set_up, nullptr, 2);
  pthread_barrier_init(&over, nullptr, 2);
  pthread_t thread;
  MUST(pthread_create(&thread, nullptr, second, nullptr) == 0);
  pthread_barrier_wait(&set_up);

  std::vector<timer_t> fillers;
  auto gap = [&](int count) {
    for (int i = 0; i < count; ++i) fillers.push_back(create(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0));
  };
  std::vector<Made> made;
  auto make = [&](int clock, int notify, int signal, int64_t value, int64_t interval, pid_t tid = 0) {
    timer_t id = create(clock, notify, signal, 1234, tid);
    if (value) arm(id, value, interval);
    made.push_back({id, notify, clock, value, interval});
  };
  constexpr int64_t kSecond = 1'000'000'000;
  gap(3);
  make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 4, 500 * kSecond, 3 * kSecond);
  make(CLOCK_REALTIME, SIGEV_NONE, 0, 600 * kSecond, 0);
  gap(4);
  make(CLOCK_BOOTTIME, SIGEV_THREAD_ID, SIGRTMIN + 5, 700 * kSecond, kSecond / 2, second_tid);
  make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 4, 0, 0);  // not armed
  gap(2);
  overrunning = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 4, 55, 0);
  for (timer_t filler : fillers) MUST(timer_delete(filler) == 0);
  int64_t start = workload::now_ns();
  arm(overrunning, 1'000'000, 1'000'000);
  workload::sleep_ms(30);  // its signal is pending, blocked, and overruns gather
  for (size_t i = 1; i < made.size(); ++i) MUST(kernel_id(made[i].id) > kernel_id(made[i - 1].id));

  workload::ready("settle 300\n");
  workload::wait_for_end();
  for (auto& timer : made) expect_on_time(timer, start);
  expect_overruns(set);
  MUST(timer_delete(overrunning) == 0);
  arm(made[2].id, 1'000'000, 0);  // the one that signals the second thread
  pthread_barrier_wait(&over);
  pthread_join(thread, nullptr);
  timer_t next = create(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 0);
  for (auto& timer : made) MUST(next != timer.id);
  return workload::passed();
}
