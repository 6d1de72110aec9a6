// The C library's restartable-sequences area is still registered, in every thread: its cpu_id follows the thread.
#include <pthread.h>
#include <sys/rseq.h>

#include "contract.h"

namespace {

pthread_barrier_t set_up, over;

const volatile struct rseq* area() {
  return reinterpret_cast<struct rseq*>(static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset);
}

void verify() {
  cpu_set_t allowed;
  MUST(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    MUST(sched_setaffinity(0, sizeof one, &one) == 0);
    MUST_BE(static_cast<int>(area()->cpu_id), cpu);
    MUST_BE(static_cast<int>(area()->cpu_id_start), cpu);
  }
  MUST(sched_setaffinity(0, sizeof allowed, &allowed) == 0);
}

void* thread(void*) {
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&over);
  verify();
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  if (__rseq_size == 0) workload::skip("the C library registered no rseq area");
  pthread_barrier_init(&set_up, nullptr, 3);
  pthread_barrier_init(&over, nullptr, 3);
  pthread_t threads[2];
  for (auto& each : threads) MUST(pthread_create(&each, nullptr, thread, nullptr) == 0);
  pthread_barrier_wait(&set_up);
  workload::ready();
  workload::wait_for_end();
  verify();
  pthread_barrier_wait(&over);
  for (auto& each : threads) pthread_join(each, nullptr);
  return workload::passed();
}
