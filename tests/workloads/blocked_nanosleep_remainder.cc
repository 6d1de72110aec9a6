// Inside nanosleep with a pointer for the remaining time; SIGTERM interrupts it, and the remaining time is right.
#include "waiting.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr int64_t kWanted = 100'000'000'000;
  workload::let_term_through();
  workload::unblock_term();
  timespec wanted = workload::timespec_of(kWanted), remaining{-1, -1};
  workload::ready("settle 600\n");
  int64_t start = workload::now_ns();
  int result = nanosleep(&wanted, &remaining);
  int64_t end = workload::now_ns();
  int error = errno;
  MUST_BE(workload::term_seen, 1);  // else something else ended it
  MUST_BE(result, -1);
  MUST_BE(error, EINTR);
  MUST(remaining.tv_sec >= 0 && remaining.tv_sec < 100);
  int64_t slept = kWanted - workload::ns_of(remaining);
  workload::check_duration(start, end, slept);
  return workload::passed();
}
