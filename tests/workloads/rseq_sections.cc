// Long restartable sequences add to per-cpu counters without atomic operations, in four threads with rseq areas of
// their own (own signature): an addition that was not aborted when it had to be loses a count.
#include <linux/rseq.h>
#include <pthread.h>
#include <sys/rseq.h>

#include <atomic>

#include "contract.h"

namespace {

constexpr int kThreads = 4, kCpus = 1024;
constexpr uint32_t kSignature = 0x53053053;
struct alignas(64) Slot {
  intptr_t value;
};
Slot counters[kCpus];
std::atomic<long> total{0};
std::atomic<bool> stop{false};
std::atomic<int> running{0};

// Adds 1 to *value, slowly, if the thread stays on `cpu` undisturbed.
bool add_one(struct rseq* area, intptr_t* value, uint32_t cpu) {
  asm goto(
      ".pushsection __rseq_cs, \"aw\"\n"
      ".balign 32\n"
      "3:\n"
      ".long 0, 0\n"
      ".quad 1f, (2f - 1f), 4f\n"
      ".popsection\n"
      "leaq 3b(%%rip), %%rax\n"
      "movq %%rax, %[section]\n"
      "1:\n"
      "cmpl %[cpu], %[current]\n"
      "jnz 4f\n"
      "movq %[value], %%rax\n"
      "movl $300, %%ecx\n"
      "5: pause\n"
      "decl %%ecx\n"
      "jnz 5b\n"
      "incq %%rax\n"
      "movq %%rax, %[value]\n"
      "2:\n"
      ".pushsection __rseq_failure, \"ax\"\n"
      ".byte 0x0f, 0xb9, 0x3d\n"
      ".long 0x53053053\n"
      "4:\n"
      "jmp %l[aborted]\n"
      ".popsection\n"
      :
      : [cpu] "r"(cpu), [current] "m"(area->cpu_id), [section] "m"(area->rseq_cs), [value] "m"(*value)
      : "memory", "cc", "rax", "rcx"
      : aborted);
  return true;
aborted:
  return false;
}

void* work(void*) {
  // The C library's registration goes, the thread's own comes.
  auto* library = reinterpret_cast<struct rseq*>(static_cast<char*>(__builtin_thread_pointer()) + __rseq_offset);
  if (__rseq_size) MUST(syscall(SYS_rseq, library, 32, RSEQ_FLAG_UNREGISTER, kSignature) == 0);
  alignas(32) struct rseq own {};
  own.cpu_id = static_cast<uint32_t>(RSEQ_CPU_ID_UNINITIALIZED);
  MUST(syscall(SYS_rseq, &own, 32, 0, kSignature) == 0);
  ++running;
  long added = 0;
  while (!stop) {
    uint32_t cpu = *const_cast<volatile uint32_t*>(&own.cpu_id_start);
    MUST(cpu < kCpus);
    if (add_one(&own, &counters[cpu].value, cpu)) ++added;
    if (added % 64 == 0) sched_yield();
  }
  total += added;
  MUST(syscall(SYS_rseq, &own, 32, RSEQ_FLAG_UNREGISTER, kSignature) == 0);
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  pthread_t threads[kThreads];
  for (auto& thread : threads) MUST(pthread_create(&thread, nullptr, work, nullptr) == 0);
  while (running < kThreads) sched_yield();
  workload::ready();
  workload::wait_for_end();
  workload::sleep_ms(100);
  stop = true;
  for (auto& thread : threads) pthread_join(thread, nullptr);
  intptr_t sum = 0;
  for (auto& slot : counters) sum += slot.value;
  MUST_BE(sum, total.load());
  MUST(sum > 100);
  return workload::passed();
}
