// Dumped inside a handler that runs on the alternate stack with a mask of its own; it returns to where it came from.
#include "contract.h"

namespace {

unsigned char stack[65536];
volatile sig_atomic_t inside = 0, done = 0;

bool on_alternate_stack(const void* address) {
  return address >= stack && address < stack + sizeof stack;
}

void handler(int, siginfo_t* info, void*) {
  unsigned char frame[5000];
  workload::fill(frame, sizeof frame, 91);
  inside = 1;
  MUST(on_alternate_stack(frame));
  workload::ready();
  workload::wait_for_end();
  MUST(on_alternate_stack(frame));
  MUST_BE(workload::differs(frame, sizeof frame, 91), -1);
  MUST_BE(info->si_value.sival_int, 77);
  stack_t now{};
  MUST(sigaltstack(nullptr, &now) == 0);
  MUST_BE(now.ss_flags, SS_ONSTACK);
  sigset_t mask;
  sigprocmask(SIG_SETMASK, nullptr, &mask);
  MUST(sigismember(&mask, SIGUSR1) == 1 && sigismember(&mask, SIGWINCH) == 1);
  done = 1;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  stack_t alternate{stack, 0, sizeof stack};
  MUST(sigaltstack(&alternate, nullptr) == 0);
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaddset(&action.sa_mask, SIGWINCH);
  MUST(sigaction(SIGUSR1, &action, nullptr) == 0);
  sigval value{};
  value.sival_int = 77;
  double before = 1.0 / 3;
  asm volatile("" : "+x"(before));  // in an SSE register when the signal comes
  MUST(sigqueue(getpid(), SIGUSR1, value) == 0);
  asm volatile("" : "+x"(before));
  MUST(before == 1.0 / 3);
  MUST(inside == 1 && done == 1);
  sigset_t mask;
  sigprocmask(SIG_SETMASK, nullptr, &mask);
  MUST(sigismember(&mask, SIGUSR1) == 0 && sigismember(&mask, SIGWINCH) == 0);
  stack_t now{};
  MUST(sigaltstack(nullptr, &now) == 0);
  MUST(now.ss_sp == stack && now.ss_size == sizeof stack && now.ss_flags == 0);
  return workload::passed();
}
