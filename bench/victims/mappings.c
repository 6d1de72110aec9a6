// argv[1] pairs of mappings of one page, one for reading and writing and one for reading only, so that no two merge.
// Each writable page holds a number; answers with their hash.
#include <sys/mman.h>

#include "answer.h"

static uint64_t hash_of(uint64_t** pages, unsigned pairs) {
  uint64_t hash = 1;
  for (unsigned i = 0; i < pairs; ++i) hash = (hash ^ *pages[i]) * 0x9e3779b97f4a7c15u;
  return hash;
}

int main(int argc, char** argv) {
  prepare();
  const unsigned pairs = argc > 1 ? (unsigned)atoi(argv[1]) : 100;
  uint64_t** pages = calloc(pairs, sizeof *pages);
  for (unsigned i = 0; i < pairs; ++i) {
    pages[i] = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages[i] == MAP_FAILED || mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
      return 5;
    *pages[i] = secret + i;
  }
  for (;;) {
    answer(hash_of(pages, pairs));
    wait_for_question();
  }
}
