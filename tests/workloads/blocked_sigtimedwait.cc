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
  workload::ready("settle 600\n");
  int64_t start = 0, end = 0;
  while (!workload::end_requested()) {
    start = workload::now_ns(), end = start + 1'200'000'000;
    for (int stops = 0;;) {
      timespec limit = workload::timespec_of(std::max<int64_t>(end - workload::now_ns(), 0));
      MUST_BE(sigtimedwait(&wanted_signals, nullptr, &limit), -1);
      if (errno != EINTR) break;
      MUST(++stops <= 20);
    }
    MUST_BE(errno, EAGAIN);
    // On the program's own clock: while it was gone, its time went on.
    const int64_t late = workload::now_ns() - end;
    if (late < 0 || late > workload::gone_between(start, workload::now_ns()).most + workload::kLateNs)
      workload::fail("the wait ended %.3f s after its time", late / 1e9);
  }
  workload::wait_for_end();
  return workload::passed();
}
