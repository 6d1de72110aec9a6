// Huge pages of hugetlb: anonymous and private, shared through two views, never touched, in a memfd and in a System V
// segment.
#include <linux/memfd.h>
#include <linux/mman.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include "contract.h"

namespace {

constexpr size_t kHuge = 2 << 20;

unsigned char* map(size_t bytes, int prot, int flags, int fd = -1) {
  return static_cast<unsigned char*>(mmap(nullptr, bytes, prot, flags, fd, 0));
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr int kAnonymous = MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB;
  auto* own = map(3 * kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | kAnonymous);
  int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB | MFD_ALLOW_SEALING);
  auto* shared = map(2 * kHuge, PROT_READ | PROT_WRITE, MAP_SHARED | kAnonymous);
  int id = shmget(IPC_PRIVATE, 2 * kHuge, IPC_CREAT | 0600 | SHM_HUGETLB);
  if (own == MAP_FAILED || shared == MAP_FAILED || fd < 0 || id < 0) {
    if (id >= 0) shmctl(id, IPC_RMID, nullptr);
    workload::skip("there are no huge pages of 2 MiB (vm.nr_overcommit_hugepages=32 would allow them)");
  }
  workload::fill(own + kHuge, kHuge, 1);
  MUST(mprotect(own + 2 * kHuge, kHuge, PROT_READ) == 0);
  workload::fill(shared, kHuge / 2, 2);
  char door[64];
  snprintf(door, sizeof door, "/proc/self/map_files/%lx-%lx", reinterpret_cast<unsigned long>(shared),
           reinterpret_cast<unsigned long>(shared) + 2 * kHuge);
  int view_fd = open(door, O_RDWR);
  MUST(view_fd >= 0);
  auto* view = static_cast<unsigned char*>(mmap(nullptr, kHuge, PROT_READ, MAP_SHARED, view_fd, 0));
  MUST(view != MAP_FAILED);
  close(view_fd);
  // Promised nothing, touched never: needs no page. Of 1 GiB, where there are such.
  auto* reserved = map(4 * kHuge, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE | kAnonymous);
  auto* giant =
      map(size_t{1} << 30, PROT_READ, MAP_PRIVATE | MAP_NORESERVE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_1GB);
  MUST(reserved != MAP_FAILED);
  MUST(ftruncate(fd, 3 * kHuge) == 0);
  auto* named = map(3 * kHuge, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
  MUST(named != MAP_FAILED);
  workload::fill(named + 2 * kHuge, kHuge, 3);
  MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
  auto* segment = static_cast<unsigned char*>(shmat(id, nullptr, 0));
  MUST(segment != reinterpret_cast<void*>(-1));
  workload::fill(segment + kHuge, kHuge, 4);

  workload::ready("segment " + std::to_string(id) + "\n");
  workload::wait_for_end();
  MUST_BE(workload::differs_from(own, kHuge, 0), -1);
  MUST_BE(workload::differs(own + kHuge, kHuge, 1), -1);
  MUST_BE(workload::differs_from(own + 2 * kHuge, kHuge, 0), -1);
  MUST_BE(workload::differs(shared, kHuge / 2, 2), -1);
  MUST_BE(workload::differs_from(shared + kHuge / 2, 3 * kHuge / 2, 0), -1);
  shared[99] ^= 1;
  MUST_BE(view[99], shared[99]);
  MUST_BE(workload::differs_from(named, 2 * kHuge, 0), -1);
  MUST_BE(workload::differs(named + 2 * kHuge, kHuge, 3), -1);
  MUST_BE(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW);
  unsigned char byte;
  named[7] = 9;
  MUST(pread(fd, &byte, 1, 7) == 1 && byte == 9);
  MUST_BE(workload::differs_from(segment, kHuge, 0), -1);
  MUST_BE(workload::differs(segment + kHuge, kHuge, 4), -1);
  MUST(mprotect(reserved, 4 * kHuge, PROT_READ | PROT_WRITE) == 0);
  MUST(giant == MAP_FAILED || munmap(giant, size_t{1} << 30) == 0);
  MUST(shmctl(id, IPC_RMID, nullptr) == 0);
  return workload::passed();
}
