// Inside sigtimedwait with a time limit, for a signal that does not come. Linux itself ends this call with EINTR
// whenever a tracer stops the thread; a program that was dumped must not see that.
#include "waiting.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  sigset_t wanted_signals;
  sigemptyset(&wanted_signals);
  sigaddset(&wanted_signals, SIGUSR1);
  sigprocmask(SIG_BLOCK, &wanted_signals, nullptr);
  return workload::repeat_wait(1'200'000'000, [&] {
    timespec limit = workload::timespec_of(1'200'000'000);
    MUST_BE(sigtimedwait(&wanted_signals, nullptr, &limit), -1);
    MUST_BE(errno, EAGAIN);
  });
}
