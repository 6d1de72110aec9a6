// Reads the clock without a pause and answers with the largest step that it saw since the last answer, in nanoseconds.
// The moments at which it answers do not count.
#include <time.h>

#include "answer.h"

static volatile sig_atomic_t asked;

static void on_question(int number) {
  (void)number;
  asked = 1;
}

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(void) {
  sigset_t questions;
  prepare(&questions);
  signal(SIGUSR1, on_question);
  sigprocmask(SIG_UNBLOCK, &questions, NULL);
  answer(0);
  for (;;) {
    uint64_t largest = 0, last = now();
    while (!asked) {
      uint64_t next = now();
      if (next - last > largest) largest = next - last;
      last = next;
    }
    asked = 0;
    answer(largest);
  }
}
