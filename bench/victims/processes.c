// A tree of argv[1] processes with argv[2] KiB of random bytes each, all but the first children of the first. At a
// question each of them is woken by a signal and tells the hash of its bytes; the answer is their sum.
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "answer.h"

static uint64_t hash_of(const uint64_t* words, size_t count) {
  uint64_t hash = 1;
  for (size_t i = 0; i < count; ++i) hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15u;
  return hash >> 16;
}

static uint64_t* random_bytes(size_t bytes) {
  uint64_t* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) _exit(5);
  for (size_t done = 0; done < bytes; done += 256)  // never interrupted, and never less (getrandom(2))
    if (getrandom((char*)memory + done, 256, 0) != 256) _exit(5);
  return memory;
}

static void tell(pid_t parent, uint64_t hash) {
  const union sigval value = {.sival_ptr = (void*)(uintptr_t)hash};
  if (sigqueue(parent, SIGRTMIN, value) != 0) _exit(6);
}

static void live_as_child(pid_t parent, size_t bytes, const sigset_t* calls) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(7);
  const uint64_t* memory = random_bytes(bytes);
  for (;;) {
    tell(parent, hash_of(memory, bytes / sizeof *memory));
    int number;
    while (sigwait(calls, &number) != 0) continue;
  }
}

static uint64_t hear(unsigned children) {
  sigset_t answers;
  sigemptyset(&answers);
  sigaddset(&answers, SIGRTMIN);
  uint64_t sum = 0;
  while (children > 0) {
    siginfo_t info;
    if (sigwaitinfo(&answers, &info) != SIGRTMIN) continue;
    sum += (uint64_t)(uintptr_t)info.si_value.sival_ptr;
    --children;
  }
  return sum;
}

int main(int argc, char** argv) {
  sigset_t calls, answers;
  prepare();
  sigemptyset(&calls);
  sigaddset(&calls, SIGUSR1);
  sigemptyset(&answers);
  sigaddset(&answers, SIGRTMIN);
  sigprocmask(SIG_BLOCK, &calls, NULL);
  sigprocmask(SIG_BLOCK, &answers, NULL);
  const unsigned children = argc > 1 ? (unsigned)atoi(argv[1]) - 1 : 1;
  const size_t bytes = (argc > 2 ? (size_t)atol(argv[2]) : 64) << 10;
  const pid_t self = getpid();
  pid_t* pids = calloc(children + 1, sizeof *pids);
  for (unsigned i = 0; i < children; ++i) {
    if ((pids[i] = fork()) < 0) return 5;
    if (pids[i] == 0) live_as_child(self, bytes, &calls);
  }
  const uint64_t* memory = random_bytes(bytes);
  for (;;) {
    answer(hear(children) + hash_of(memory, bytes / sizeof *memory));
    wait_for_question();
    for (unsigned i = 0; i < children; ++i)
      if (kill(pids[i], SIGUSR1) != 0) return 6;
  }
}
