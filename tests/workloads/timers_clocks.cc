// POSIX timers on every clock that the machine has, wall clocks and CPU clocks of the process and of single threads:
// each keeps its clock, its remaining time and its interval, and measures what it measured before.
#include <pthread.h>

#include "waiting.h"

namespace {

constexpr int64_t kSecond = 1'000'000'000;
pthread_barrier_t made, turn, over;
timer_t of_second_by_itself, of_second_by_id;

timer_t create(clockid_t clock) {
  sigevent event{};
  event.sigev_notify = SIGEV_NONE;
  timer_t timer;
  if (timer_create(clock, &event, &timer) != 0) workload::fail("timer_create %d: %s", clock, strerror(errno));
  return timer;
}

void arm(timer_t timer, int64_t value_ns, int64_t interval_ns) {
  itimerspec spec{workload::timespec_of(interval_ns), workload::timespec_of(value_ns)};
  MUST(timer_settime(timer, 0, &spec, nullptr) == 0);
}

int64_t left(timer_t timer) {
  itimerspec now{};
  MUST(timer_gettime(timer, &now) == 0);
  MUST_BE(workload::ns_of(now.it_interval), 7 * kSecond);
  return workload::ns_of(now.it_value);
}

void burn(int64_t ns, clockid_t clock = CLOCK_THREAD_CPUTIME_ID) {
  for (int64_t end = workload::now_ns(clock) + ns; workload::now_ns(clock) < end;) {
  }
}

void* second(void*) {
  of_second_by_itself = create(CLOCK_THREAD_CPUTIME_ID);
  clockid_t clock;
  MUST(pthread_getcpuclockid(pthread_self(), &clock) == 0);
  of_second_by_id = create(clock);
  pthread_barrier_wait(&made);
  pthread_barrier_wait(&turn);
  burn(100'000'000);
  pthread_barrier_wait(&over);
  pthread_barrier_wait(&over);  // its CPU clock ends with it
  return nullptr;
}

struct Case {
  const char* name;
  timer_t timer;
  int64_t value;
};

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  for (auto* barrier : {&made, &turn, &over}) pthread_barrier_init(barrier, nullptr, 2);
  pthread_t thread;
  MUST(pthread_create(&thread, nullptr, second, nullptr) == 0);
  pthread_barrier_wait(&made);
  std::vector<Case> wall, cpu;
  for (clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI})
    wall.push_back({"wall", create(clock), (500 + 10 * clock) * kSecond});
  timer_t process = create(CLOCK_PROCESS_CPUTIME_ID), first = create(CLOCK_THREAD_CPUTIME_ID);
  cpu = {{"process", process, 300 * kSecond},
         {"first thread", first, 310 * kSecond},
         {"second thread", of_second_by_itself, 320 * kSecond},
         {"second thread by id", of_second_by_id, 330 * kSecond}};
  int64_t start = workload::now_ns();
  for (auto& c : wall) arm(c.timer, c.value, 7 * kSecond);
  for (auto& c : cpu) arm(c.timer, c.value, 7 * kSecond);
  workload::ready("settle 300\n");
  workload::wait_for_end();
  for (auto& c : wall) {
    int64_t rest = left(c.timer);
    workload::check_duration(start, workload::now_ns(), c.value - rest);
  }
  int64_t before[4];
  for (size_t i = 0; i < cpu.size(); ++i) {
    before[i] = left(cpu[i].timer);
    int64_t used = cpu[i].value - before[i];
    if (used < 0 || used > kSecond) workload::fail("%s: %lld ns of CPU time used", cpu[i].name, (long long)used);
  }
  pthread_barrier_wait(&turn);
  pthread_barrier_wait(&over);  // the second thread has worked, the first one has waited
  int64_t used[4];
  for (size_t i = 0; i < cpu.size(); ++i) used[i] = before[i] - left(cpu[i].timer);
  for (size_t i : {0, 2, 3})
    if (used[i] < 95'000'000) workload::fail("%s: %lld ns while 100 ms were used", cpu[i].name, (long long)used[i]);
  if (used[1] > 50'000'000) workload::fail("the first thread's timer counted %lld ns", (long long)used[1]);
  pthread_barrier_wait(&over);
  pthread_join(thread, nullptr);
  return workload::passed();
}
