// Inside ppoll with a time limit and a signal mask: the mask is back to the program's own afterwards.
#include <poll.h>

#include "waiting.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  int ends[2];
  MUST(pipe(ends) == 0);
  sigset_t during;
  sigemptyset(&during);
  sigaddset(&during, SIGTERM);
  sigaddset(&during, SIGUSR1);
  return workload::repeat_wait(1'200'000'000, [&] {
    pollfd entry{ends[0], POLLIN, 0};
    timespec wanted = workload::timespec_of(1'200'000'000);
    MUST_BE(ppoll(&entry, 1, &wanted, &during), 0);
    sigset_t now;
    sigprocmask(SIG_SETMASK, nullptr, &now);
    MUST(sigismember(&now, SIGUSR1) == 0 && sigismember(&now, SIGTERM) == 1);
  });
}
