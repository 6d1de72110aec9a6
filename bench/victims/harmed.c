// A program that comes to harm: from the second question on it answers with another value each time ("value"), with
// another secret ("secret"), finds itself harmed ("check") or ends ("end"). The suite must notice each.
#include <string.h>

#include "answer.h"

int main(int argc, char** argv) {
  prepare();
  const char* how = argc > 1 ? argv[1] : "";
  for (uint64_t question = 0;; ++question) {
    if (question > 2 && strcmp(how, "end") == 0) return 0;
    if (question > 2 && strcmp(how, "check") == 0) wrong("it is told so");
    if (question > 2 && strcmp(how, "secret") == 0) ++secret;
    answer(question > 2 && strcmp(how, "value") == 0 ? question : 7);
    wait_for_question();
  }
}
