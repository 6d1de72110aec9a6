// What prctl(2) sets for a single thread: the time stamp counter forbidden, a policy for memory failures, system calls
// dispatched to the thread itself (its selector allows them just now). One thread blocks or catches every signal by
// which it could be stopped unnoticed.
#include <pthread.h>
#include <sys/prctl.h>

#include "contract.h"

namespace {

constexpr int kThreads = 4;
constexpr int kDispatch = 59;  // PR_SET_SYSCALL_USER_DISPATCH, 5.11
pthread_barrier_t set_up, over;
volatile char selector = 0;
volatile sig_atomic_t dispatched = 0;

void on_dispatch(int, siginfo_t*, void*) {
  selector = 0;
  dispatched = dispatched + 1;
}

void be_dispatched() {
  struct sigaction action {};
  action.sa_sigaction = on_dispatch;
  action.sa_flags = SA_SIGINFO;
  MUST(sigaction(SIGSYS, &action, nullptr) == 0);
  if (prctl(kDispatch, 1, 0, 0, &selector) != 0) workload::skip("this kernel has no syscall user dispatch");
}

void hold_signals() {
  sigset_t all;
  sigfillset(&all);
  MUST(pthread_sigmask(SIG_SETMASK, &all, nullptr) == 0);
}

void* work(void* argument) {
  const auto index = reinterpret_cast<intptr_t>(argument);
  if (index == 0) MUST(prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0) == 0);
  if (index == 1) MUST(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0) == 0);
  if (index == 2) be_dispatched();
  if (index == 3) hold_signals();
  stack_t stack{malloc(16384), 0, 16384};
  MUST(sigaltstack(&stack, nullptr) == 0);
  const int policy = prctl(PR_MCE_KILL_GET, 0, 0, 0, 0);
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&over);
  int tsc = 0;
  MUST(prctl(PR_GET_TSC, &tsc, 0, 0, 0) == 0);
  MUST_BE(tsc, index == 0 ? PR_TSC_SIGSEGV : PR_TSC_ENABLE);
  MUST_BE(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), policy);
  stack_t now{};
  MUST(sigaltstack(nullptr, &now) == 0 && now.ss_sp == stack.ss_sp);
  if (index == 2) {
    selector = 1;
    syscall(SYS_getppid);
    MUST_BE(selector, 0);
    MUST_BE(dispatched, 1);
  }
  return nullptr;
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
  workload::ready();
  workload::wait_for_end();
  pthread_barrier_wait(&over);
  for (auto& thread : threads) MUST(pthread_join(thread, nullptr) == 0);
  return workload::passed();
}
