// Inside nanosleep without a pointer for the remaining time.
#include "waiting.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr int64_t kWanted = 1'200'000'000;
  return workload::repeat_wait(kWanted, [] {
    timespec wanted = workload::timespec_of(kWanted);
    MUST_BE(nanosleep(&wanted, nullptr), 0);
  });
}
