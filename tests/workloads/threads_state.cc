// 16 threads with thread-local data, ids, names, signal masks and alternate stacks of their own; some sleep, some work.
#include <pthread.h>

#include "contract.h"

namespace {

constexpr int kThreads = 16;
thread_local uint64_t tls_words[64];
pthread_barrier_t set_up, over;
volatile bool stop = false;

sigset_t mask_of(int index) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGTERM);
  sigaddset(&mask, SIGRTMIN + index);
  if (index % 2) sigaddset(&mask, SIGUSR1);
  return mask;
}

std::string name_of(int index) {
  return "worker-" + std::to_string(index);
}

void* work(void* argument) {
  int index = static_cast<int>(reinterpret_cast<intptr_t>(argument));
  workload::fill(tls_words, sizeof tls_words, 80 + index);
  pthread_setname_np(pthread_self(), name_of(index).c_str());
  sigset_t mask = mask_of(index), now;
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  std::vector<unsigned char> memory(16384 + index * 4096);
  stack_t alternate{memory.data(), index % 5 == 4 ? 0 : 0, memory.size()};
  if (index % 3 == 0) MUST(sigaltstack(&alternate, nullptr) == 0);
  pid_t id = gettid();
  pthread_barrier_wait(&set_up);

  uint64_t rounds = 0;
  while (index % 4 == 1 && !stop) ++rounds;  // these work; the others wait
  pthread_barrier_wait(&over);

  MUST_BE(gettid(), id);
  MUST_BE(workload::differs(tls_words, sizeof tls_words, 80 + index), -1);
  char name[32];
  pthread_getname_np(pthread_self(), name, sizeof name);
  MUST(name_of(index) == name);
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  for (int signal = 1; signal <= 64; ++signal)
    if (signal != 32 && signal != 33) MUST_BE(sigismember(&now, signal), sigismember(&mask, signal));
  stack_t found{};
  MUST(sigaltstack(nullptr, &found) == 0);
  if (index % 3 == 0) {
    MUST(found.ss_sp == memory.data() && found.ss_size == memory.size() && found.ss_flags == 0);
  } else {
    MUST_BE(found.ss_flags, SS_DISABLE);
  }
  return reinterpret_cast<void*>(intptr_t{1000} + index);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  pthread_barrier_init(&set_up, nullptr, kThreads + 1);
  pthread_barrier_init(&over, nullptr, kThreads + 1);
  pthread_t threads[kThreads];
  for (intptr_t i = 0; i < kThreads; ++i)
    MUST(pthread_create(&threads[i], nullptr, work, reinterpret_cast<void*>(i)) == 0);
  pthread_barrier_wait(&set_up);
  pid_t pid = getpid(), tid = gettid(), group = getpgrp(), session = getsid(0);
  workload::ready();
  workload::wait_for_end();
  MUST_BE(getpid(), pid);
  MUST_BE(gettid(), tid);
  MUST_BE(getpgrp(), group);
  MUST_BE(getsid(0), session);
  stop = true;
  pthread_barrier_wait(&over);
  for (intptr_t i = 0; i < kThreads; ++i) {
    void* result = nullptr;
    MUST(pthread_join(threads[i], &result) == 0);
    MUST_BE(reinterpret_cast<intptr_t>(result), 1000 + i);
  }
  return workload::passed();
}
