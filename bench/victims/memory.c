// argv[1] MiB of random bytes in private anonymous memory, in pages of 4 KiB. Answers with a hash of all of them.
#include <string.h>
#include <sys/mman.h>

#include "answer.h"

// Where the kernel would give huge pages unasked, it is told not to; elsewhere the memory stays as malloc() leaves it.
static int gives_huge_pages(void) {
  char mode[64] = "";
  FILE* file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
  if (file == NULL) return 0;
  const int got = fgets(mode, sizeof mode, file) != NULL;
  fclose(file);
  return got && strstr(mode, "[always]") != NULL;
}

// xorshift64: quick, and nothing a page could be guessed from.
static void fill(uint64_t* words, size_t count) {
  uint64_t x = secret | 1;
  for (size_t i = 0; i < count; ++i) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    words[i] = x;
  }
}

// Four lanes, so that one pass takes less than the reading of the memory.
static uint64_t hash(const uint64_t* words, size_t count) {
  uint64_t lanes[4] = {1, 2, 3, 4};
  for (size_t i = 0; i + 4 <= count; i += 4)
    for (size_t k = 0; k < 4; ++k) lanes[k] = (lanes[k] ^ words[i + k]) * 0x9e3779b97f4a7c15u;
  return lanes[0] ^ lanes[1] << 1 ^ lanes[2] << 2 ^ lanes[3] << 3;
}

int main(int argc, char** argv) {
  sigset_t questions;
  prepare(&questions);
  size_t bytes = (size_t)(argc > 1 ? atol(argv[1]) : 64) << 20;
  uint64_t* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 5;
  if (gives_huge_pages() && madvise(memory, bytes, MADV_NOHUGEPAGE) != 0) return 5;
  fill(memory, bytes / sizeof *memory);
  uint64_t expected = hash(memory, bytes / sizeof *memory);
  answer(expected);
  for (;;) {
    wait_for_question(&questions);
    answer(hash(memory, bytes / sizeof *memory));
  }
}
