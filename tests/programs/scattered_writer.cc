// scattered_writer MIB: so much memory of random bytes in pages of 4 KiB. A line when it is there, and one for each
// SIGUSR1, when it has written to one page of a hundred, scattered.
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

namespace {

uint64_t next_random(uint64_t& x) {
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  return x;
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t pages = static_cast<uint64_t>(argc > 1 ? atoi(argv[1]) : 16) * 256;
  sigset_t asked;
  sigemptyset(&asked);
  sigaddset(&asked, SIGUSR1);
  sigprocmask(SIG_BLOCK, &asked, nullptr);
  auto* words =
      static_cast<uint64_t*>(mmap(nullptr, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (words == MAP_FAILED) return 2;
  madvise(words, pages * 4096, MADV_NOHUGEPAGE);
  uint64_t x = 88172645463325252;
  for (uint64_t i = 0; i < pages * 512; ++i) words[i] = next_random(x);
  for (uint64_t round = 0;; ++round) {
    printf("%llu\n", static_cast<unsigned long long>(round));
    fflush(stdout);
    int number = 0;
    sigwait(&asked, &number);
    for (uint64_t i = 0; i < pages / 100; ++i) words[next_random(x) % pages * 512 + i % 512] = next_random(x);
  }
}
