// Inside poll with a time limit, on a pipe that stays empty.
#include <poll.h>

#include "waiting.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  int ends[2];
  MUST(pipe(ends) == 0);
  return workload::repeat_wait(1'200'000'000, [&ends] {
    pollfd entry{ends[0], POLLIN, 0};
    MUST_BE(syscall(SYS_poll, &entry, 1, 1200), 0);
  });
}
