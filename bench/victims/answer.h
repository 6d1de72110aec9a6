// What every victim does: each SIGUSR1 is answered with one line on standard output, "ROUND VALUE SECRET". The secret
// is drawn at the start and lives in memory only, so that a right answer proves that the program went on where it was.
#pragma once

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

static uint64_t secret;
static unsigned rounds;

static void answer(uint64_t value) {
  char line[96];
  int length =
      snprintf(line, sizeof line, "%u %llu %016llx\n", rounds++, (unsigned long long)value, (unsigned long long)secret);
  if (write(STDOUT_FILENO, line, (size_t)length) != length) _exit(3);
}

static void prepare(sigset_t* questions) {
  if (getrandom(&secret, sizeof secret, 0) != (ssize_t)sizeof secret) _exit(4);
  sigemptyset(questions);
  sigaddset(questions, SIGUSR1);
  sigprocmask(SIG_BLOCK, questions, NULL);
}

// Sleeps until the next question. Anything but SIGUSR1 ends the program in the usual way.
static inline void wait_for_question(const sigset_t* questions) {
  int number;
  while (sigwait(questions, &number) != 0) continue;
}
