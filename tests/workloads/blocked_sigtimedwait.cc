// Inside sigtimedwait with a time limit, for a signal that does not come. Linux ends this call with EINTR whenever the
// thread is stopped, by a tracer as by SIGSTOP and SIGCONT (signal(7)), and knows no way to go on with the rest of its
// time; a program that waits for what is left must come to the right total.
#include <algorithm>

#include "waiting.h"

namespace {

struct Wait {
  int64_t start, end, over;
};

Wait wait_once(const sigset_t& wanted) {
  Wait wait{workload::now_ns(), 0, 0};
  wait.end = wait.start + 1'200'000'000;
  for (int stops = 0;;) {
    timespec limit = workload::timespec_of(std::max<int64_t>(wait.end - workload::now_ns(), 0));
    MUST_BE(sigtimedwait(&wanted, nullptr, &limit), -1);
    if (errno != EINTR) break;
    MUST(++stops <= 20);
  }
  MUST_BE(errno, EAGAIN);
  wait.over = workload::now_ns();
  return wait;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGUSR1);
  sigprocmask(SIG_BLOCK, &wanted, nullptr);
  static Wait waits[256];
  int count = 0;
  workload::ready("settle 600\n");
  while (!workload::end_requested() && count < 256) waits[count++] = wait_once(wanted);
  workload::wait_for_end();
  for (int i = 0; i < count; ++i) {
    // On the program's own clock: while it was gone, its time went on.
    const int64_t late = waits[i].over - waits[i].end;
    if (late < 0 || late > workload::gone_between(waits[i].start, waits[i].over).most + workload::kLateNs)
      workload::fail("wait %d ended %.3f s after its time", i, late / 1e9);
  }
  return workload::passed();
}
