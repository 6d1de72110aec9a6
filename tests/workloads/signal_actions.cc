// The kernel's view of all 64 signal handlers: handler, flags, mask and restorer, ignored and default ones too.
#include "contract.h"

namespace {

struct KernelAction {
  uint64_t handler, flags, restorer, mask;
};

KernelAction action_of(int signal) {
  KernelAction action{};
  MUST(syscall(SYS_rt_sigaction, signal, nullptr, &action, 8) == 0);
  return action;
}

volatile sig_atomic_t runs = 0;
volatile sig_atomic_t last_code = 0;
void count(int) {
  runs = runs + 1;
}
void detail(int, siginfo_t* info, void*) {
  runs = runs + 1;
  last_code = info->si_code;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const int flags[] = {0,
                       SA_RESTART,
                       SA_SIGINFO,
                       SA_NODEFER,
                       SA_SIGINFO | SA_ONSTACK,
                       static_cast<int>(SA_RESETHAND),
                       SA_NOCLDSTOP,
                       SA_NOCLDWAIT | SA_RESTART};
  for (int signal = 1; signal <= 64; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP || signal == 32 || signal == 33) continue;
    struct sigaction action {};
    action.sa_flags = flags[signal % 8];
    sigemptyset(&action.sa_mask);
    for (int other = 1; other <= 64; ++other)
      if ((other * signal) % 7 == 3 && other != 32 && other != 33) sigaddset(&action.sa_mask, other);
    if (signal % 5 == 0) {
      action.sa_handler = SIG_IGN;
    } else if (signal % 5 == 1) {
      action.sa_handler = SIG_DFL;
    } else if (action.sa_flags & SA_SIGINFO) {
      action.sa_sigaction = detail;
    } else {
      action.sa_handler = count;
    }
    MUST(sigaction(signal, &action, nullptr) == 0);
  }
  KernelAction before[65]{};
  for (int signal = 1; signal <= 64; ++signal) before[signal] = action_of(signal);
  workload::ready();
  workload::wait_for_end();
  for (int signal = 1; signal <= 64; ++signal) {
    KernelAction after = action_of(signal);
    if (memcmp(&after, &before[signal], sizeof after) != 0)
      workload::fail("signal %d: handler %lx -> %lx, flags %lx -> %lx, restorer %lx -> %lx, mask %lx -> %lx", signal,
                     before[signal].handler, after.handler, before[signal].flags, after.flags, before[signal].restorer,
                     after.restorer, before[signal].mask, after.mask);
  }
  MUST(raise(SIGUSR2) == 0);  // 12: SA_SIGINFO | SA_ONSTACK, a handler that looks at siginfo
  MUST_BE(runs, 1);
  MUST_BE(last_code, SI_TKILL);
  MUST(raise(SIGALRM) == 0);  // 14: SA_NOCLDSTOP, a plain handler
  MUST_BE(runs, 2);
  return workload::passed();
}
