// Inside sigwaitinfo without a time limit.
#include "waiting.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  workload::ready();
  siginfo_t info{};
  int got = sigwaitinfo(&term, &info);
  // Any stop ends this call with EINTR (signal(7)); a dump has it made again, unless it is killed before it came to
  // that.
  while (got < 0 && errno == EINTR && getenv("MCR_DUMP_IS_KILLED")) got = sigwaitinfo(&term, &info);
  if (got < 0) workload::fail("sigwaitinfo: %s", strerror(errno));
  MUST_BE(got, SIGTERM);
  return workload::passed();
}
