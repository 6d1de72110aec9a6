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
  if (got < 0) workload::fail("sigwaitinfo: %s", strerror(errno));
  MUST_BE(got, SIGTERM);
  return workload::passed();
}
