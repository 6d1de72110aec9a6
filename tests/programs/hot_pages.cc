// hot_pages MIB: two processes that write to all of their memory as fast as they can, page after page, round after
// round. Before a page is written, it must be as the round before has left it, in full; and what each of them knows by
// itself of where the two are must be what their shared memory says. So a copy of the memory that was not made in one
// instant, for pages and processes alike, is found out by the program that goes on from it.
//
// Prints READY; SIGTERM ends it with "PASS" once a whole round more was right, at the first thing wrong it ends with
// "FAIL ...". Every page is written to with the same round twice over: at its head and its end before all else.
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr size_t kWords = 4096 / sizeof(uint64_t);

struct Shared {
  volatile uint64_t steps[2];   // pages that each has written
  volatile uint64_t rounds[2];  // rounds that each has finished
};

volatile sig_atomic_t is_ending = 0;

[[noreturn]] void fail(int who, const char* what, uint64_t found, uint64_t wanted) {
  printf("FAIL process %d: %s: %llu instead of %llu\n", who, what, static_cast<unsigned long long>(found),
         static_cast<unsigned long long>(wanted));
  fflush(stdout);
  _exit(1);
}

uint64_t word_of(int who, uint64_t page, uint64_t round, size_t word) {
  uint64_t x = (round + 1) * 0x9e3779b97f4a7c15 ^ (page << 17) ^ (word << 3) ^ static_cast<uint64_t>(who);
  x ^= x >> 29;
  return x * 0xbf58476d1ce4e5b9;
}

void check_page(int who, const uint64_t* words, uint64_t page, uint64_t round) {
  for (size_t i = 0; i < kWords; i += 37)
    if (words[i] != word_of(who, page, round, i)) fail(who, "a word of a page", i, page);
}

void write_page(int who, uint64_t* words, uint64_t page, uint64_t round) {
  for (size_t i = 0; i < kWords; ++i) words[i] = word_of(who, page, round, i);
}

// In turn: neither begins a round before the other has finished the one before, which a token in the pipe tells.
void work(int who, uint64_t* memory, uint64_t pages, Shared* shared, int in, int out) {
  uint64_t steps = shared->steps[who];
  for (uint64_t round = 1;; ++round) {
    for (uint64_t page = 0; page < pages; ++page) {
      if (shared->steps[who] != steps) fail(who, "pages written", shared->steps[who], steps);
      check_page(who, memory + page * kWords, page, round - 1);
      write_page(who, memory + page * kWords, page, round);
      shared->steps[who] = ++steps;
    }
    shared->rounds[who] = round;
    if (write(out, &round, sizeof round) != sizeof round) _exit(2);
    uint64_t theirs = 0;
    if (read(in, &theirs, sizeof theirs) != sizeof theirs) _exit(2);
    if (theirs != round) fail(who, "the other's token", theirs, round);
    const uint64_t other = shared->rounds[1 - who];
    if (other != round && other != round + 1) fail(who, "rounds of the other", other, round);
    if (who == 0) {
      const uint64_t is_last = is_ending ? 1 : 0;  // and the child ends after the same round
      if (write(out, &is_last, sizeof is_last) != sizeof is_last) _exit(2);
      if (is_last) return;
    } else {
      uint64_t is_last = 0;
      if (read(in, &is_last, sizeof is_last) != sizeof is_last) _exit(2);
      if (is_last) return;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t pages = static_cast<uint64_t>(argc > 1 ? atoi(argv[1]) : 16) * 256;
  auto* shared = static_cast<Shared*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  auto* memory =
      static_cast<uint64_t*>(mmap(nullptr, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  int to_child[2], to_parent[2];
  if (shared == MAP_FAILED || memory == MAP_FAILED || pipe(to_child) || pipe(to_parent)) return 2;
  struct sigaction action {};
  action.sa_handler = [](int) { is_ending = 1; };
  action.sa_flags = SA_RESTART;
  sigaction(SIGTERM, &action, nullptr);
  const pid_t child = fork();
  if (child < 0) return 2;
  const int who = child == 0 ? 1 : 0;
  close(to_child[who == 0 ? 0 : 1]);
  close(to_parent[who == 0 ? 1 : 0]);
  for (uint64_t page = 0; page < pages; ++page) write_page(who, memory + page * kWords, page, 0);
  if (who == 0) {
    puts("READY");
    fflush(stdout);
    work(0, memory, pages, shared, to_parent[0], to_child[1]);
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0)
      fail(0, "the end of the child", static_cast<uint64_t>(status), 0);
    if (waitpid(-1, &status, __WALL) != -1) fail(0, "children left", 1, 0);
    puts("PASS");
    return fflush(stdout);
  }
  work(1, memory, pages, shared, to_child[0], to_parent[1]);
  return 0;
}
