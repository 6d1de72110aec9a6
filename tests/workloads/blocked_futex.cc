// Inside futex waits without a time limit, and with an absolute one far away, in two threads, until they are woken.
#include <linux/futex.h>
#include <pthread.h>

#include "waiting.h"

namespace {

uint32_t words[2] = {5, 6};

void* wait_for_word(void* argument) {
  auto* word = static_cast<uint32_t*>(argument);
  uint32_t value = *word;
  timespec limit = workload::timespec_of(workload::now_ns() + 1000'000'000'000);
  long result = word == &words[0]
                    ? syscall(SYS_futex, word, FUTEX_WAIT, value, nullptr)
                    : syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, &limit, nullptr, FUTEX_BITSET_MATCH_ANY);
  MUST_BE(result, 0);
  MUST_BE(*word, value + 1);  // woken by main, not before
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  pthread_t threads[2];
  for (int i = 0; i < 2; ++i) MUST(pthread_create(&threads[i], nullptr, wait_for_word, &words[i]) == 0);
  workload::sleep_ms(50);
  workload::ready();
  workload::wait_for_end();
  workload::sleep_ms(50);  // a wait that is still being restarted finds its word unchanged
  for (int i = 0; i < 2; ++i) {
    ++words[i];
    MUST_BE(syscall(SYS_futex, &words[i], FUTEX_WAKE, 1), 1);
  }
  for (auto& thread : threads) pthread_join(thread, nullptr);
  return workload::passed();
}
