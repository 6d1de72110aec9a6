// Threads come and go all the time while the program is dumped.
#include <pthread.h>

#include <atomic>

#include "contract.h"

namespace {
std::atomic<long> started{0}, ended{0};
void* brief(void* argument) {
  volatile int local = static_cast<int>(reinterpret_cast<intptr_t>(argument));
  for (int i = 0; i < 2000; ++i) local = local + 1;
  ++ended;
  return reinterpret_cast<void*>(static_cast<intptr_t>(local));
}
}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  workload::ready("loose threads\nloose masks\nloose pending\nloose credentials\nloose maps\n");
  do {
    pthread_t threads[4];
    for (intptr_t i = 0; i < 4; ++i) {
      MUST_BE(pthread_create(&threads[i], nullptr, brief, reinterpret_cast<void*>(i)), 0);
      ++started;
    }
    for (intptr_t i = 0; i < 4; ++i) {
      void* result = nullptr;
      MUST_BE(pthread_join(threads[i], &result), 0);
      MUST_BE(reinterpret_cast<intptr_t>(result), i + 2000);
    }
  } while (!workload::end_requested());
  MUST_BE(ended.load(), started.load());
  return workload::passed();
}
