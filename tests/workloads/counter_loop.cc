// A tight loop over registers and memory: no step is lost, repeated or wrong.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  volatile uint64_t in_memory = 0;
  uint64_t in_register = 0, sum = 0;
  workload::ready();
  do {
    for (int i = 0; i < 200'000; ++i) {
      in_memory = in_memory + 1;
      ++in_register;
      sum += in_register * 2654435761u;
      if (in_memory != in_register) workload::fail("memory counts %lu, register %lu", in_memory, in_register);
    }
  } while (!workload::end_requested());
  uint64_t expected = 0;
  for (uint64_t i = 1; i <= in_register; ++i) expected += i * 2654435761u;
  MUST(sum == expected);
  return workload::passed();
}
