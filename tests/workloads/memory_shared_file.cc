// A shared file mapping: what is written to memory is in the file, and the other way round, before and after.
#include <sys/mman.h>

#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr size_t kPage = 4096, kSize = 12 * kPage;
  std::string path = workload::prefix + ".mapped";
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
  MUST(fd >= 0 && ftruncate(fd, kSize) == 0);
  auto* writable = static_cast<unsigned char*>(mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  auto* tail = static_cast<unsigned char*>(mmap(nullptr, 4 * kPage, PROT_READ, MAP_SHARED, fd, 8 * kPage));
  MUST(writable != MAP_FAILED && tail != MAP_FAILED);
  close(fd);
  workload::fill(writable, kSize, 31);
  MUST(mprotect(writable, kPage, PROT_READ) == 0);

  workload::ready();
  workload::wait_for_end();
  MUST_BE(workload::differs(writable, kSize, 31), -1);
  MUST(memcmp(tail, writable + 8 * kPage, 4 * kPage) == 0);
  writable[9 * kPage] = 123;
  MUST_BE(tail[kPage], 123);
  MUST_BE(static_cast<unsigned char>(workload::read_file(path)[9 * kPage]), 123);
  fd = open(path.c_str(), O_RDWR);
  MUST(pwrite(fd, "file", 4, 10 * kPage) == 4);
  MUST(memcmp(writable + 10 * kPage, "file", 4) == 0);
  MUST(mprotect(writable, kPage, PROT_READ | PROT_WRITE) == 0);  // the descriptor behind it was writable
  close(fd);
  unlink(path.c_str());
  return workload::passed();
}
