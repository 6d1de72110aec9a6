// Huge pages of hugetlb that two processes share: anonymous ones, a memfd, a System V segment.
#include <linux/memfd.h>
#include <linux/mman.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include "family.h"

using namespace workload;

namespace {

constexpr size_t kHuge = 2 << 20;

#define CHECK(condition) \
  if (!(condition)) _exit(__LINE__ % 80 + 10)

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  constexpr int kAnonymous = MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB;
  auto* shared = static_cast<unsigned char*>(mmap(nullptr, 2 * kHuge, PROT_READ | PROT_WRITE, kAnonymous, -1, 0));
  int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
  int id = shmget(IPC_PRIVATE, kHuge, IPC_CREAT | 0600 | SHM_HUGETLB);
  if (shared == MAP_FAILED || fd < 0 || id < 0) {
    if (id >= 0) shmctl(id, IPC_RMID, nullptr);
    skip("there are no huge pages of 2 MiB (vm.nr_overcommit_hugepages=32 would allow them)");
  }
  fill(shared, kHuge, 1);
  MUST(ftruncate(fd, 2 * kHuge) == 0);
  auto* named = static_cast<unsigned char*>(mmap(nullptr, 2 * kHuge, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  auto* segment = static_cast<unsigned char*>(shmat(id, nullptr, 0));
  MUST(named != MAP_FAILED && segment != reinterpret_cast<void*>(-1));
  fill(named + kHuge, kHuge, 2);
  fill(segment, kHuge, 3);
  pid_t child = fork_child([&] {
    CHECK(munmap(named, kHuge) == 0 && mprotect(shared + kHuge, kHuge, PROT_READ) == 0);
    nursery.grown();
    wait_for_end();
    CHECK(differs(shared, kHuge, 1) == -1 && shared[kHuge + 9] == 81);
    CHECK(named[kHuge] == 82 && segment[5] == 83);
    segment[6] = 84;
    _exit(7);
  });
  nursery.expect(1);
  ready("segment " + std::to_string(id) + "\n");
  wait_for_end();
  MUST_BE(differs(shared, kHuge, 1), -1);
  MUST_BE(differs(named + kHuge, kHuge, 2), -1);
  MUST_BE(differs(segment, kHuge, 3), -1);
  shared[kHuge + 9] = 81;
  named[kHuge] = 82;
  segment[5] = 83;
  expect_end(child, 7);
  MUST_BE(segment[6], 84);
  MUST(shmctl(id, IPC_RMID, nullptr) == 0);
  expect_childless();
  return passed();
}
