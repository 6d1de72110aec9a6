// Inside pause: it returns for SIGTERM's handler and for nothing else.
#include "waiting.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  workload::let_term_through();
  workload::unblock_term();
  workload::ready();
  int result = pause();
  int error = errno;
  MUST_BE(workload::term_seen, 1);
  MUST_BE(result, -1);
  MUST_BE(error, EINTR);
  return workload::passed();
}
