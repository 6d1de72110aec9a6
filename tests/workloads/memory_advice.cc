// What madvise and mlock said about a mapping is still in force (the driver compares VmFlags), and its content is
// there.
#include <sys/mman.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr size_t kSize = 16 * 4096;
  const int advices[] = {MADV_DONTFORK, MADV_DONTDUMP, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_RANDOM, MADV_SEQUENTIAL};
  std::vector<unsigned char*> areas;
  for (int advice : advices) {
    void* area = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(area != MAP_FAILED);
    MUST(madvise(area, kSize, advice) == 0);
    workload::fill(area, kSize, advice);
    areas.push_back(static_cast<unsigned char*>(area));
  }
  void* locked = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  MUST(mlock(locked, kSize) == 0);
  workload::fill(locked, kSize, 99);
  workload::ready();
  workload::wait_for_end();
  for (size_t i = 0; i < areas.size(); ++i) MUST_BE(workload::differs(areas[i], kSize, advices[i]), -1);
  MUST_BE(workload::differs(locked, kSize, 99), -1);
  unsigned char resident[kSize / 4096];
  MUST(mincore(locked, kSize, resident) == 0);
  for (unsigned char page : resident) MUST(page & 1);
  return workload::passed();
}
