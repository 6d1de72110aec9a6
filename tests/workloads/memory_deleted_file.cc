// Mappings of a file that was deleted, without a descriptor: one private with changed pages, one shared.
#include <sys/mman.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr size_t kPage = 4096, kSize = 10 * kPage;
  std::string path = workload::prefix + ".mapped";
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
  MUST(fd >= 0 && ftruncate(fd, kSize) == 0);
  auto* shared = static_cast<unsigned char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  MUST(shared != MAP_FAILED);
  workload::fill(shared, kSize, 41);
  auto* own = static_cast<unsigned char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
  MUST(own != MAP_FAILED);
  workload::fill(own + 2 * kPage, kPage, 42);
  close(fd);
  MUST(unlink(path.c_str()) == 0);

  workload::ready();
  workload::wait_for_end();
  MUST_BE(workload::differs(shared, kSize, 41), -1);
  MUST_BE(workload::differs(own + 2 * kPage, kPage, 42), -1);
  MUST(memcmp(own, shared, 2 * kPage) == 0);
  MUST(memcmp(own + 3 * kPage, shared + 3 * kPage, 7 * kPage) == 0);
  shared[5 * kPage] ^= 1;
  MUST_BE(own[5 * kPage], shared[5 * kPage]);  // still one file
  MUST(access(path.c_str(), F_OK) == -1);      // and still deleted
  return workload::passed();
}
