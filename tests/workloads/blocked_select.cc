// Inside select with a time limit, on a pipe that stays empty.
#include <sys/select.h>

#include "waiting.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  int ends[2];
  MUST(pipe(ends) == 0);
  return workload::repeat_wait(1'200'000'000, [&ends] {
    fd_set readable;
    FD_ZERO(&readable);
    FD_SET(ends[0], &readable);
    timeval limit{1, 200'000};
    MUST_BE(select(ends[0] + 1, &readable, nullptr, nullptr, &limit), 0);
    MUST_BE(FD_ISSET(ends[0], &readable), 0);
  });
}
