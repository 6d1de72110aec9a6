// 2,000 mappings of alternating protection.
#include <sys/mman.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr size_t kPage = 4096, kCount = 2000;
  auto* area = static_cast<unsigned char*>(
      mmap(nullptr, kCount * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  MUST(area != MAP_FAILED);
  for (size_t i = 0; i < kCount; ++i) memcpy(area + i * kPage + 8, &i, sizeof i);
  for (size_t i = 0; i < kCount; i += 2) MUST(mprotect(area + i * kPage, kPage, PROT_READ) == 0);
  workload::ready();
  workload::wait_for_end();
  for (size_t i = 0; i < kCount; ++i) MUST(memcmp(area + i * kPage + 8, &i, sizeof i) == 0);
  for (size_t i = 1; i < kCount; i += 2) area[i * kPage] = 1;
  return workload::passed();
}
