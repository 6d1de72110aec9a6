// Inside read on an empty pipe: the handler of SIGTERM writes what the read returns.
#include "waiting.h"

namespace {
int ends[2];
}

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  MUST(pipe(ends) == 0);
  workload::let_term_through(
      [](int) {
        workload::term_seen = 1;
        if (write(ends[1], "x", 1) != 1) _exit(4);
      },
      SA_RESTART);
  workload::unblock_term();
  workload::ready();
  char byte = 0;
  ssize_t got = read(ends[0], &byte, 1);
  MUST_BE(workload::term_seen, 1);
  MUST_BE(got, 1);
  MUST_BE(byte, 'x');
  return workload::passed();
}
