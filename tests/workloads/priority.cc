// Nice value, and the scheduling policy and processor affinity of a thread.
#include <pthread.h>
#include <sys/resource.h>

#include "contract.h"

namespace {

pthread_barrier_t set_up, over;

void* thread(void*) {
  MUST(setpriority(PRIO_PROCESS, gettid(), 15) == 0);
  sched_param parameters{};
  MUST(sched_setscheduler(0, SCHED_BATCH, &parameters) == 0);
  cpu_set_t one, now;
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  MUST(sched_setaffinity(0, sizeof one, &one) == 0);
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&over);
  MUST_BE(getpriority(PRIO_PROCESS, gettid()), 15);
  MUST_BE(sched_getscheduler(0), SCHED_BATCH);
  MUST(sched_getaffinity(0, sizeof now, &now) == 0);
  MUST(CPU_EQUAL(&one, &now));
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  MUST(setpriority(PRIO_PROCESS, 0, 7) == 0);
  pthread_barrier_init(&set_up, nullptr, 2);
  pthread_barrier_init(&over, nullptr, 2);
  pthread_t other;
  MUST(pthread_create(&other, nullptr, thread, nullptr) == 0);
  pthread_barrier_wait(&set_up);
  workload::ready();
  workload::wait_for_end();
  MUST_BE(getpriority(PRIO_PROCESS, 0), 7);
  MUST_BE(sched_getscheduler(0), SCHED_OTHER);
  pthread_barrier_wait(&over);
  pthread_join(other, nullptr);
  return workload::passed();
}
