// Inside sigsuspend with a mask of its own: it returns for SIGTERM only, and the program's mask is back.
#include "waiting.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  workload::let_term_through();
  sigset_t own, during, now;
  sigemptyset(&own);
  sigaddset(&own, SIGTERM);
  sigaddset(&own, SIGUSR1);
  sigprocmask(SIG_SETMASK, &own, nullptr);
  sigemptyset(&during);
  sigaddset(&during, SIGUSR2);
  workload::ready();
  int result = sigsuspend(&during);
  int error = errno;
  MUST_BE(workload::term_seen, 1);
  MUST_BE(result, -1);
  MUST_BE(error, EINTR);
  sigprocmask(SIG_SETMASK, nullptr, &now);
  for (int signal = 1; signal < 32; ++signal) MUST_BE(sigismember(&now, signal), sigismember(&own, signal));
  return workload::passed();
}
