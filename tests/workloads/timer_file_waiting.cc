// Inside read of a timerfd: 1.2 seconds, again and again.
#include <sys/timerfd.h>

#include "waiting.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  MUST(fd >= 0);
  return workload::repeat_wait(1'200'000'000, [fd] {
    const itimerspec spec{{0, 0}, {1, 200'000'000}};
    MUST(timerfd_settime(fd, 0, &spec, nullptr) == 0);
    uint64_t ticks = 0;
    MUST_BE(read(fd, &ticks, sizeof ticks), sizeof ticks);
    MUST_BE(ticks, 1);
  });
}
