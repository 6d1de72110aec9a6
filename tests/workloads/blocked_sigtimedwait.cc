// Inside sigtimedwait with a time limit, for a signal that does not come. Linux ends this call with EINTR whenever the
// thread is stopped, by a tracer as by SIGSTOP and SIGCONT (signal(7)), and knows no way to go on with the rest of its
// time; a program that waits for what is left must come to the right total.
#include <algorithm>

#include "waiting.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  sigset_t wanted_signals;
  sigemptyset(&wanted_signals);
  sigaddset(&wanted_signals, SIGUSR1);
  sigprocmask(SIG_BLOCK, &wanted_signals, nullptr);
  return workload::repeat_wait(1'200'000'000, [&] {
    const int64_t end = workload::now_ns() + 1'200'000'000;
    int stops = 0;
    for (;;) {
      timespec limit = workload::timespec_of(std::max<int64_t>(end - workload::now_ns(), 0));
      MUST_BE(sigtimedwait(&wanted_signals, nullptr, &limit), -1);
      if (errno != EINTR) break;
      MUST(++stops <= 20);
    }
    MUST_BE(errno, EAGAIN);
  });
}
