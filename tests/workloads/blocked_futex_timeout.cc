// Inside a futex wait with a relative time limit.
#include <linux/futex.h>

#include "waiting.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  static uint32_t word = 5;
  return workload::repeat_wait(1'200'000'000, [] {
    timespec wanted = workload::timespec_of(1'200'000'000);
    MUST_BE(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 5, &wanted), -1);
    MUST_BE(errno, ETIMEDOUT);
  });
}
