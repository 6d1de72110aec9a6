// The break is where it was and moves on in both directions.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  auto* start = static_cast<unsigned char*>(sbrk(1 << 20));
  MUST(start != reinterpret_cast<void*>(-1));
  workload::fill(start, 1 << 20, 51);
  void* end = sbrk(0);
  workload::ready();
  workload::wait_for_end();
  MUST(sbrk(0) == end);
  MUST_BE(workload::differs(start, 1 << 20, 51), -1);
  auto* grown = static_cast<unsigned char*>(sbrk(2 << 20));
  MUST(grown == end);
  MUST_BE(workload::differs_from(grown, 2 << 20, 0), -1);
  workload::fill(grown, 2 << 20, 52);
  MUST_BE(workload::differs(start, 1 << 20, 51), -1);
  MUST(brk(end) == 0 && sbrk(0) == end);
  return workload::passed();
}
