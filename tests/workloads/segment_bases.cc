// The fs and gs bases of two threads.
#include <asm/prctl.h>
#include <pthread.h>

#include "contract.h"

namespace {

uint64_t blocks[2][8];
uint64_t fs_before[2];
std::vector<pthread_t> threads;
volatile bool over = false;

uint64_t base_of(int which) {
  uint64_t base = 0;
  MUST(syscall(SYS_arch_prctl, which, &base) == 0);
  return base;
}

void set_up(int index) {
  workload::fill(blocks[index], sizeof blocks[index], 70 + index);
  MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, &blocks[index]) == 0);
  fs_before[index] = base_of(ARCH_GET_FS);
}

void verify(int index) {
  MUST_BE(base_of(ARCH_GET_FS), fs_before[index]);
  MUST_BE(base_of(ARCH_GET_GS), reinterpret_cast<uint64_t>(&blocks[index]));
  uint64_t through_gs = 0;
  asm volatile("movq %%gs:16, %0" : "=r"(through_gs));
  MUST_BE(through_gs, blocks[index][2]);
}

void* second(void*) {
  set_up(1);
  __atomic_store_n(&over, true, __ATOMIC_RELEASE);
  while (__atomic_load_n(&over, __ATOMIC_ACQUIRE)) verify(1);
  verify(1);
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  set_up(0);
  pthread_t thread;
  MUST(pthread_create(&thread, nullptr, second, nullptr) == 0);
  while (!__atomic_load_n(&over, __ATOMIC_ACQUIRE)) sched_yield();
  workload::ready();
  workload::wait_for_end();
  verify(0);
  __atomic_store_n(&over, false, __ATOMIC_RELEASE);
  MUST(pthread_join(thread, nullptr) == 0);
  return workload::passed();
}
