// Timers of CPU time of two threads, the first of which has seccomp filters that forbid it to host a parasite: each
// timer measures its own thread afterwards.
#include <pthread.h>

#include "seccomp.h"
#include "waiting.h"

namespace {

constexpr int64_t kSecond = 1'000'000'000;
pthread_barrier_t turn;
timer_t first_timer, second_timer;

timer_t armed_timer() {
  sigevent event{};
  event.sigev_notify = SIGEV_NONE;
  timer_t timer;
  MUST(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0);
  const itimerspec spec{{0, 0}, {500, 0}};
  MUST(timer_settime(timer, 0, &spec, nullptr) == 0);
  return timer;
}

int64_t left(timer_t timer) {
  itimerspec now{};
  MUST(timer_gettime(timer, &now) == 0);
  return workload::ns_of(now.it_value);
}

void* second(void*) {
  second_timer = armed_timer();
  pthread_barrier_wait(&turn);
  pthread_barrier_wait(&turn);
  for (int64_t end = workload::now_ns(CLOCK_THREAD_CPUTIME_ID) + kSecond / 10;
       workload::now_ns(CLOCK_THREAD_CPUTIME_ID) < end;) {
  }
  pthread_barrier_wait(&turn);
  pthread_barrier_wait(&turn);  // its clock ends with it
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  pthread_barrier_init(&turn, nullptr, 2);
  pthread_t thread;
  MUST(pthread_create(&thread, nullptr, second, nullptr) == 0);
  first_timer = armed_timer();
  pthread_barrier_wait(&turn);
  MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  if (install_filter(SYS_socketpair, SECCOMP_RET_KILL_THREAD) != 0)
    workload::skip("this kernel has no seccomp filters");
  workload::ready();
  workload::wait_for_end();
  const int64_t first_before = left(first_timer), second_before = left(second_timer);
  pthread_barrier_wait(&turn);
  pthread_barrier_wait(&turn);
  const int64_t first_used = first_before - left(first_timer), second_used = second_before - left(second_timer);
  if (second_used < 95'000'000 || first_used > 50'000'000)
    workload::fail("the first thread's timer counted %lld ns, that of the second %lld, which used 100 ms",
                   static_cast<long long>(first_used), static_cast<long long>(second_used));
  pthread_barrier_wait(&turn);
  pthread_join(thread, nullptr);
  return workload::passed();
}
