// Pages given up by MADV_FREE: the kernel may take them as long as nobody writes to them. What was written again is
// kept; what was not holds its old content or zeros.
#include <sys/mman.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr size_t kPage = 4096, kSize = 512 * kPage;
  auto map = [] {
    void* at = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(at != MAP_FAILED);
    return static_cast<unsigned char*>(at);
  };
  // Pages that wait in a batch of another CPU than the one where MADV_FREE is called are passed over.
  cpu_set_t all, one;
  MUST(sched_getaffinity(0, sizeof all, &all) == 0);
  CPU_ZERO(&one);
  CPU_SET(sched_getcpu(), &one);
  MUST(sched_setaffinity(0, sizeof one, &one) == 0);
  unsigned char* freed = map();
  mprotect(map(), kSize, PROT_NONE);
  unsigned char* again = map();
  for (size_t i = 0; i < kSize; i += kPage) {
    workload::fill(freed + i, kPage, 1 + i);
    workload::fill(again + i, kPage, 1 + i);
  }
  MUST(madvise(freed, kSize, MADV_FREE) == 0);
  MUST(madvise(again, kSize, MADV_FREE) == 0);
  for (size_t i = 0; i < kSize; i += 2 * kPage) workload::fill(again + i, kPage, 2 + i);
  // Pages on their way to the list of those that may be taken stay behind in a batch of the CPU; the next such call
  // flushes it, so that what smaps says keeps still.
  MUST(madvise(freed, kPage, MADV_FREE) == 0);
  MUST(sched_setaffinity(0, sizeof all, &all) == 0);
  workload::ready();
  workload::wait_for_end();
  for (size_t i = 0; i < kSize; i += kPage) {
    MUST(workload::differs(freed + i, kPage, 1 + i) == -1 || workload::differs_from(freed + i, kPage, 0) == -1);
    if (i / kPage % 2)
      MUST(workload::differs(again + i, kPage, 1 + i) == -1 || workload::differs_from(again + i, kPage, 0) == -1);
    else
      MUST_BE(workload::differs(again + i, kPage, 2 + i), -1);
  }
  return workload::passed();
}
