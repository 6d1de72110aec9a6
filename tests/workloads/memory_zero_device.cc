// Mappings of /dev/zero: private ones are anonymous memory that shows the device in /proc, shared ones are shared
// anonymous memory. One starts in the middle of the device, where shared memory has nothing.
#include <sys/mman.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr size_t kPage = 4096, kSize = 16 * kPage;
  int fd = open("/dev/zero", O_RDWR), reader = open("/dev/zero", O_RDONLY);
  MUST(fd >= 0 && reader >= 0);
  const auto map = [&](int prot, int flags, int from, off_t offset) {
    auto* at = static_cast<unsigned char*>(mmap(nullptr, kSize, prot, flags, from, offset));
    MUST(at != MAP_FAILED);
    return at;
  };
  auto* own = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  auto* shifted = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, reader, 5 * kPage);
  auto* quiet = map(PROT_NONE, MAP_PRIVATE, fd, 0);
  auto* shared = map(PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  auto* beyond = map(PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4 * kPage);
  workload::fill(own + 2 * kPage, kPage, 1);
  workload::fill(shifted, kSize, 2);
  workload::fill(shared, 3 * kPage, 3);
  workload::fill(beyond, kPage, 4);
  close(fd);
  close(reader);

  workload::ready();
  workload::wait_for_end();
  MUST_BE(workload::differs_from(own, 2 * kPage, 0), -1);
  MUST_BE(workload::differs(own + 2 * kPage, kPage, 1), -1);
  MUST_BE(workload::differs_from(own + 3 * kPage, kSize - 3 * kPage, 0), -1);
  MUST_BE(workload::differs(shifted, kSize, 2), -1);
  MUST_BE(workload::differs(shared, 3 * kPage, 3), -1);
  MUST_BE(workload::differs_from(shared + 3 * kPage, kSize - 3 * kPage, 0), -1);
  MUST_BE(workload::differs(beyond, kPage, 4), -1);
  MUST(mprotect(quiet, kSize, PROT_READ | PROT_WRITE) == 0);
  MUST_BE(workload::differs_from(quiet, kSize, 0), -1);
  return workload::passed();
}
