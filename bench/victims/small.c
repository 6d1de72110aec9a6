// A small process that sleeps.
#include "answer.h"

int main(void) {
  sigset_t questions;
  prepare(&questions);
  answer(0);
  for (;;) {
    wait_for_question(&questions);
    answer(0);
  }
}
