// A small process that sleeps.
#include "answer.h"

int main(void) {
  prepare();
  answer(0);
  for (;;) {
    wait_for_question();
    answer(0);
  }
}
