// argv[1] pipes with eight bytes in each. At a question all are read, and written again; answers with their sum.
#include "answer.h"
#include "limits.h"

static uint64_t sum_of(int (*pipes)[2], unsigned count) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < count; ++i) {
    uint64_t value = 0;
    if (read(pipes[i][0], &value, sizeof value) != (ssize_t)sizeof value) _exit(6);
    if (write(pipes[i][1], &value, sizeof value) != (ssize_t)sizeof value) _exit(6);
    sum += value * (i + 1);
  }
  return sum;
}

int main(int argc, char** argv) {
  prepare();
  const unsigned count = argc > 1 ? (unsigned)atoi(argv[1]) : 10;
  if (raise_descriptor_limit(2 * count + 64) != 0) return 5;
  int(*pipes)[2] = calloc(count, sizeof *pipes);
  for (unsigned i = 0; i < count; ++i) {
    const uint64_t value = secret + i;
    if (pipe(pipes[i]) != 0 || write(pipes[i][1], &value, sizeof value) != (ssize_t)sizeof value) return 5;
  }
  for (;;) {
    answer(sum_of(pipes, count));
    wait_for_question();
  }
}
