// Shared anonymous memory: seen through two mappings of different protection, partly unmapped, with an untouched tail.
#include <sys/mman.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr size_t kPage = 4096, kSize = 40 * kPage;
  auto* first =
      static_cast<unsigned char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  MUST(first != MAP_FAILED);
  workload::fill(first, 30 * kPage, 11);
  // An old size of 0 makes a second mapping of the same pages.
  auto* second = static_cast<unsigned char*>(mremap(first, 0, kSize, MREMAP_MAYMOVE));
  MUST(second != MAP_FAILED && second != first);
  auto* shifted = static_cast<unsigned char*>(mremap(first + 8 * kPage, 0, 8 * kPage, MREMAP_MAYMOVE));
  MUST(shifted != MAP_FAILED);
  MUST(mprotect(second, kSize, PROT_READ) == 0);
  MUST(munmap(first + 20 * kPage, 5 * kPage) == 0);  // still reachable through the second mapping
  auto* lonely =
      static_cast<unsigned char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  MUST(lonely != MAP_FAILED);
  workload::fill(lonely + 3 * kPage, kPage, 12);

  workload::ready();
  workload::wait_for_end();
  MUST_BE(workload::differs(second, 30 * kPage, 11), -1);
  MUST_BE(workload::differs_from(second + 30 * kPage, 10 * kPage, 0), -1);
  MUST(memcmp(first, second, 20 * kPage) == 0);
  MUST(memcmp(shifted, second + 8 * kPage, 8 * kPage) == 0);
  workload::fill(first + 8 * kPage, kPage, 13);  // one page, three views
  MUST_BE(workload::differs(second + 8 * kPage, kPage, 13), -1);
  MUST_BE(workload::differs(shifted, kPage, 13), -1);
  first[35 * kPage] = 5;
  MUST_BE(second[35 * kPage], 5);
  MUST_BE(workload::differs_from(lonely, 3 * kPage, 0), -1);
  MUST_BE(workload::differs(lonely + 3 * kPage, kPage, 12), -1);
  MUST_BE(workload::differs_from(lonely + 4 * kPage, kSize - 4 * kPage, 0), -1);
  return workload::passed();
}
