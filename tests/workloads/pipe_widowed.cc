// Pipes of which one end is closed: what is left can be read, then comes the end; writing gives EPIPE.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  int reading[2], drained[2], writing[2], writing_full[2];
  MUST(pipe(reading) == 0 && pipe(drained) == 0 && pipe(writing) == 0 && pipe(writing_full) == 0);
  MUST_BE(write(reading[1], "the rest", 8), 8);
  MUST_BE(write(writing_full[1], "never read", 10), 10);
  close(reading[1]);
  close(drained[1]);
  close(writing[0]);
  close(writing_full[0]);
  workload::ready();
  workload::wait_for_end();
  char buffer[16];
  MUST_BE(read(reading[0], buffer, sizeof buffer), 8);
  MUST(memcmp(buffer, "the rest", 8) == 0);
  MUST_BE(read(reading[0], buffer, sizeof buffer), 0);
  MUST_BE(read(drained[0], buffer, sizeof buffer), 0);
  for (int fd : {writing[1], writing_full[1]}) {
    MUST_BE(write(fd, "x", 1), -1);
    MUST_BE(errno, EPIPE);
  }
  return workload::passed();
}
