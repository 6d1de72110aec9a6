// argv[1] MiB of private anonymous memory with content of the kind argv[2] in pages of the kind argv[3] (fill.h).
// Answers with a hash of all of it.
#include "answer.h"
#include "fill.h"

int main(int argc, char** argv) {
  prepare();
  if (argc < 4) return 5;
  const size_t bytes = (size_t)atol(argv[1]) << 20, count = bytes / sizeof(uint64_t);
  uint64_t* memory = take_memory(bytes, argv[3]);
  fill(memory, count, argv[2], secret);
  for (;;) {
    answer(hash_of_words(memory, count));
    wait_for_question();
  }
}
