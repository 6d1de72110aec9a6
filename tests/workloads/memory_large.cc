// 64 MiB that do not compress, with a checksum; a part is rewritten all the time.
#include <sys/mman.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr size_t kSize = 64u << 20, kHot = 1u << 20;
  auto* memory =
      static_cast<unsigned char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  MUST(memory != MAP_FAILED);
  workload::fill(memory, kSize, 4711);
  auto* hot =
      static_cast<unsigned char*>(mmap(nullptr, kHot, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  MUST(hot != MAP_FAILED);
  workload::fill(hot, kHot, 0);  // all its pages are there before anybody looks
  workload::ready();
  for (uint64_t round = 1; !workload::end_requested(); ++round) {
    workload::fill(hot, kHot, round);
    MUST_BE(workload::differs(hot, kHot, round), -1);
  }
  MUST_BE(workload::differs(memory, kSize, 4711), -1);
  return workload::passed();
}
