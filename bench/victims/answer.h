// What every victim does: a byte on standard input (a FIFO) is a question, which is answered with one line on standard
// output, "ROUND VALUE SECRET". The secret is drawn at the start and lives in memory only, so that a right answer
// proves that the program went on where it was. "ROUND wrong WHAT" tells that it has found itself harmed.
#pragma once

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

static uint64_t secret;
static unsigned rounds;

static inline void answer(uint64_t value) {
  char line[96];
  int length =
      snprintf(line, sizeof line, "%u %llu %016llx\n", rounds++, (unsigned long long)value, (unsigned long long)secret);
  if (write(STDOUT_FILENO, line, (size_t)length) != length) _exit(3);
}

static inline void wrong(const char* what) {
  dprintf(STDOUT_FILENO, "%u wrong %s\n", rounds, what);
  _exit(6);
}

static inline void prepare(void) {
  if (getrandom(&secret, sizeof secret, 0) != (ssize_t)sizeof secret) _exit(4);
}

// Sleeps until the next question.
static inline void wait_for_question(void) {
  char byte;
  if (read(STDIN_FILENO, &byte, 1) != 1) _exit(3);
}
