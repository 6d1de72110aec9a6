// Who is told when a descriptor becomes readable: F_SETOWN, F_SETOWN_EX, F_SETSIG and O_ASYNC on pipes.
#include "contract.h"

namespace {
volatile sig_atomic_t told = 0;
}

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  int first[2], second[2];
  MUST(pipe(first) == 0 && pipe(second) == 0);
  struct sigaction action {};
  action.sa_handler = [](int) { told = told + 1; };
  MUST(sigaction(SIGRTMIN + 6, &action, nullptr) == 0);
  MUST(fcntl(first[0], F_SETOWN, getpid()) == 0);
  MUST(fcntl(first[0], F_SETSIG, SIGRTMIN + 6) == 0);
  MUST(fcntl(first[0], F_SETFL, O_ASYNC) == 0);
  f_owner_ex owner{F_OWNER_TID, gettid()}, now{};
  MUST(fcntl(second[0], F_SETOWN_EX, &owner) == 0);
  workload::ready();
  workload::wait_for_end();
  MUST_BE(fcntl(first[0], F_GETOWN), getpid());
  MUST_BE(fcntl(first[0], F_GETSIG), SIGRTMIN + 6);
  MUST(fcntl(first[0], F_GETFL) & O_ASYNC);
  MUST(fcntl(second[0], F_GETOWN_EX, &now) == 0);
  MUST(now.type == F_OWNER_TID && now.pid == gettid());
  MUST_BE(fcntl(second[0], F_GETSIG), 0);
  MUST_BE(told, 0);
  MUST_BE(write(first[1], "x", 1), 1);
  MUST_BE(told, 1);
  return workload::passed();
}
