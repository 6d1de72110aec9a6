// Inside poll without a time limit, which the kernel continues through a restart block too.
#include <poll.h>
#include <pthread.h>

#include <climits>

#include "contract.h"

namespace {

constexpr int kLimits[] = {-1, INT_MIN, -77};
constexpr size_t kThreads = sizeof kLimits / sizeof *kLimits;
int ends[kThreads][2];

void* wait_for_byte(void* number) {
  const auto i = reinterpret_cast<size_t>(number);
  pollfd entry{ends[i][0], POLLIN, 0};
  MUST_BE(syscall(SYS_poll, &entry, 1, kLimits[i]), 1);
  MUST_BE(entry.revents, POLLIN);
  char byte = 0;
  MUST(read(ends[i][0], &byte, 1) == 1);
  MUST_BE(byte, 'x');
  return number;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  pthread_t threads[kThreads];
  for (size_t i = 0; i < kThreads; ++i) {
    MUST(pipe(ends[i]) == 0);
    pthread_create(&threads[i], nullptr, wait_for_byte, reinterpret_cast<void*>(i));
  }
  workload::ready();
  workload::wait_for_end();
  for (size_t i = 0; i < kThreads; ++i) MUST(write(ends[i][1], "x", 1) == 1);
  for (size_t i = 0; i < kThreads; ++i) {
    void* result = nullptr;
    pthread_join(threads[i], &result);
    MUST_BE(reinterpret_cast<size_t>(result), i);
  }
  return workload::passed();
}
