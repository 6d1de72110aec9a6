// Reads the clock without a pause and answers with the largest step that it saw since the last answer, in nanoseconds.
// The moments at which it answers do not count. argv[1] MiB of random memory in pages of the kind argv[2]; with argv[3]
// "write" it also writes to one page after the other, round and round, with "part" to one of a hundred, and looks at
// each answer whether all of them hold what it wrote last.
#include <errno.h>
#include <time.h>

#include "answer.h"
#include "fill.h"

enum { WORDS_PER_PAGE = 512 };

static uint64_t* memory;
static size_t pages, at, words_apart = WORDS_PER_PAGE;
static uint64_t sweep;

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int asked(void) {
  char byte;
  const ssize_t got = read(STDIN_FILENO, &byte, 1);
  if (got < 0 && errno != EAGAIN && errno != EINTR) _exit(3);
  return got == 1;
}

static void write_next(void) {
  memory[at * words_apart] = secret ^ sweep;
  if (++at == pages) at = 0, ++sweep;
}

static void check(void) {
  for (size_t i = 0; i < pages; ++i)
    if (memory[i * words_apart] != (secret ^ (i < at ? sweep : sweep - 1)))
      wrong("a page holds what was written earlier");
}

int main(int argc, char** argv) {
  prepare();
  const size_t bytes = argc > 2 ? (size_t)atol(argv[1]) << 20 : 0;
  const int writes = argc > 3;
  if (bytes > 0) {
    memory = take_memory(bytes, argv[2]);
    fill(memory, bytes / sizeof *memory, "random", secret);
    if (writes && strcmp(argv[3], "part") == 0) words_apart = 100 * WORDS_PER_PAGE;
    pages = bytes / sizeof *memory / words_apart;
  }
  for (size_t i = 0; writes && i < pages; ++i) write_next();
  fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
  answer(0);
  for (;;) {
    uint64_t largest = 0, last = now();
    for (unsigned turn = 1; turn % 16 != 0 || !asked(); ++turn) {
      if (writes) write_next();
      uint64_t next = now();
      if (next - last > largest) largest = next - last;
      last = next;
    }
    if (writes) check();
    answer(largest);
  }
}
