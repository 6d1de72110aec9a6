// membarrier(2): who has registered for the expedited barriers may use them ever after.
#include <linux/membarrier.h>
#include <pthread.h>

#include "contract.h"

namespace {

constexpr int kRegistrations = 1 << 9;  // MEMBARRIER_CMD_GET_REGISTRATIONS, 6.3

long membarrier(int command) {
  return syscall(SYS_membarrier, command, 0, 0);
}

void* second(void* barrier) {
  pthread_barrier_wait(static_cast<pthread_barrier_t*>(barrier));
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) != 0) workload::skip("no expedited membarrier");
  bool sync_core = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE) == 0;
  MUST(membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0);
  long registered = membarrier(kRegistrations);
  MUST(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ) != 0);  // not asked for
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, nullptr, 2);
  pthread_t thread;
  MUST(pthread_create(&thread, nullptr, second, &barrier) == 0);
  workload::ready();
  workload::wait_for_end();
  MUST_BE(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED), 0);
  if (sync_core) MUST_BE(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE), 0);
  MUST(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ) != 0);
  MUST_BE(membarrier(kRegistrations), registered);
  pthread_barrier_wait(&barrier);
  pthread_join(thread, nullptr);
  return workload::passed();
}
