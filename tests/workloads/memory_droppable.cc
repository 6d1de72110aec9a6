// MAP_DROPPABLE (6.11): memory that the kernel may empty, that never goes into a core file or to a child. While nobody
// presses for memory its content is there, and it can neither be made to be dumped nor to be kept on fork.
#include <sys/mman.h>
#include <sys/wait.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr int kDroppable = 0x08;  // MAP_DROPPABLE
  constexpr size_t kSize = 16 * 4096;
  auto* area =
      static_cast<unsigned char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, kDroppable | MAP_ANONYMOUS, -1, 0));
  if (area == MAP_FAILED) workload::skip("this kernel has no MAP_DROPPABLE (6.11)\n");
  workload::fill(area, kSize / 2, 7);
  workload::ready();
  workload::wait_for_end();
  for (size_t at = 0; at < kSize / 2; at += 4096) {  // page by page: each is whole or zero
    unsigned char expected[4096];
    workload::Pattern pattern(7);
    static unsigned char all[kSize / 2];
    workload::fill(all, sizeof all, 7);
    memcpy(expected, all + at, sizeof expected);
    MUST(memcmp(area + at, expected, sizeof expected) == 0 || workload::differs_from(area + at, 4096, 0) == -1);
  }
  MUST_BE(workload::differs_from(area + kSize / 2, kSize / 2, 0), -1);
  MUST(madvise(area, kSize, MADV_DODUMP) == -1);
  MUST(madvise(area, kSize, MADV_KEEPONFORK) == -1);
  workload::fill(area, kSize, 8);
  const pid_t child = fork();
  if (child == 0) _exit(workload::differs_from(area, kSize, 0) == -1 ? 0 : 1);
  int status = -1;
  MUST(waitpid(child, &status, 0) == child);
  MUST_BE(status, 0);
  return workload::passed();
}
