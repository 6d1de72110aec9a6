// Sealed mappings (mseal, 6.10) of several kinds: still sealed, and with their content.
#include <sys/mman.h>

#include "contract.h"

namespace {

constexpr size_t kPage = 4096, kSize = 4 * kPage;

struct Area {
  unsigned char* start;
  int prot;
  uint64_t seed;  // 0: zeros
};

void expect_sealed(const Area& area) {
  errno = 0;
  MUST(mprotect(area.start, kPage, PROT_READ | PROT_WRITE | PROT_EXEC) == -1 && errno == EPERM);
  MUST(munmap(area.start + kPage, kPage) == -1 && errno == EPERM);
  MUST(mremap(area.start, kSize, 2 * kSize, MREMAP_MAYMOVE) == MAP_FAILED && errno == EPERM);
  MUST(mmap(area.start, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED &&
       errno == EPERM);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  auto seal = [](void* at, size_t size) { return syscall(462, at, size, 0); };
  const std::string path = workload::prefix + ".file";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  std::vector<unsigned char> bytes(kSize);
  workload::fill(bytes.data(), kSize, 3);
  MUST(write(fd, bytes.data(), kSize) == static_cast<ssize_t>(kSize));
  auto map = [](int flags, int file) {
    void* at = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, flags, file, 0);
    MUST(at != MAP_FAILED);
    return static_cast<unsigned char*>(at);
  };
  std::vector<Area> areas{{map(MAP_PRIVATE | MAP_ANONYMOUS, -1), PROT_READ | PROT_WRITE, 1},
                          {map(MAP_PRIVATE | MAP_ANONYMOUS, -1), PROT_READ, 2},
                          {map(MAP_PRIVATE | MAP_ANONYMOUS, -1), PROT_NONE, 0},
                          {map(MAP_PRIVATE, fd), PROT_READ, 3},
                          {map(MAP_SHARED, fd), PROT_READ | PROT_WRITE, 3},
                          {map(MAP_SHARED | MAP_ANONYMOUS, -1), PROT_READ, 4},
                          {map(MAP_PRIVATE | MAP_ANONYMOUS, -1), PROT_READ | PROT_WRITE, 5}};
  for (const Area& area : areas)
    if (area.seed != 0 && area.seed != 3) workload::fill(area.start, kSize, area.seed);
  MUST(mlock(areas[6].start, kSize) == 0);
  MUST(madvise(areas[6].start, kSize, MADV_DONTFORK) == 0);
  for (const Area& area : areas) {
    MUST(mprotect(area.start, kSize, area.prot) == 0);
    if (seal(area.start, kSize) != 0) {
      if (errno == ENOSYS) workload::skip("this kernel has no mseal (6.10)\n");
      workload::fail("mseal: %s", strerror(errno));
    }
  }
  // Half of a mapping: two lines, of which one may be changed.
  unsigned char* half = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
  workload::fill(half, kSize, 6);
  MUST(seal(half, kSize / 2) == 0);
  workload::ready();
  workload::wait_for_end();
  for (const Area& area : areas) {
    expect_sealed(area);
    if (!(area.prot & PROT_READ)) continue;
    MUST_BE(workload::differs(area.start, kSize, area.seed), -1);
  }
  MUST_BE(workload::differs(half, kSize, 6), -1);
  MUST(munmap(half, kPage) == -1);
  MUST(munmap(half + kSize / 2, kSize / 2) == 0);
  return workload::passed();
}
