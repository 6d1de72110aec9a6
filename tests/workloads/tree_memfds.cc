// memfds of several processes: mapped by one and open in another, mapped by both, sealed in different ways; and what
// each does to its position.
#include <sys/mman.h>

#include "family.h"

using namespace workload;

namespace {

constexpr size_t kPage = 4096;
constexpr int kFutureWrite = 0x10;  // F_SEAL_FUTURE_WRITE

int make(const char* name, size_t size, int seed) {
  int fd = memfd_create(name, MFD_ALLOW_SEALING);
  MUST(fd >= 0 && ftruncate(fd, static_cast<off_t>(size)) == 0);
  std::vector<unsigned char> content(size);
  fill(content.data(), size, seed);
  MUST(pwrite(fd, content.data(), size, 0) == static_cast<ssize_t>(size));
  return fd;
}

unsigned char* map(int fd, size_t size, int prot, int flags = MAP_SHARED) {
  void* at = mmap(nullptr, size, prot, flags, fd, 0);
  MUST(at != MAP_FAILED);
  return static_cast<unsigned char*>(at);
}

#define CHECK(condition) \
  if (!(condition)) _exit(__LINE__ % 80 + 10)

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  constexpr int kWrite = PROT_READ | PROT_WRITE;
  int common = make("common", 8 * kPage, 1), late = make("sealed late", 4 * kPage, 2),
      read_only = make("sealed", kPage, 3), unmapped = make("descriptor only", kPage, 4);
  unsigned char* early = map(late, 4 * kPage, kWrite);
  unsigned char* ours = map(common, 8 * kPage, kWrite);
  MUST(fcntl(late, F_ADD_SEALS, kFutureWrite | F_SEAL_SHRINK | F_SEAL_GROW) == 0);
  MUST(fcntl(read_only, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL) == 0);
  MUST(lseek(unmapped, 100, SEEK_SET) == 100);

  pid_t child = fork_child([&] {
    CHECK(munmap(ours, 8 * kPage) == 0);
    unsigned char* theirs = map(common, 8 * kPage, PROT_READ);
    unsigned char* own = map(common, 8 * kPage, kWrite, MAP_PRIVATE);
    own[0] = 200;
    unsigned char* sealed = map(read_only, kPage, PROT_READ);
    close(common), close(read_only);
    nursery.grown();
    wait_for_end();
    CHECK(differs(theirs, 7 * kPage, 1) == -1 && theirs[7 * kPage] == 55);
    CHECK(own[0] == 200 && own[1] == theirs[1] && own[7 * kPage] == 55);
    CHECK(differs(sealed, kPage, 3) == -1 && mprotect(sealed, kPage, kWrite) != 0);
    CHECK(mmap(nullptr, kPage, kWrite, MAP_SHARED, late, 0) == MAP_FAILED);
    early[4 * kPage - 1] = 56;  // the mapping is older than the seal
    CHECK(lseek(unmapped, 7, SEEK_CUR) == 107);
    _exit(3);
  });
  nursery.expect(1);
  close(late);
  ready();
  wait_for_end();
  MUST_BE(differs(ours, 8 * kPage, 1), -1);
  MUST_BE(differs(early, 4 * kPage, 2), -1);
  ours[7 * kPage] = 55;
  expect_end(child, 3);
  MUST_BE(early[4 * kPage - 1], 56);
  MUST_BE(lseek(unmapped, 0, SEEK_CUR), 107);
  MUST_BE(fcntl(common, F_GET_SEALS), 0);
  MUST_BE(fcntl(read_only, F_GET_SEALS), F_SEAL_WRITE | F_SEAL_SEAL);
  char byte = 0;
  MUST(pread(common, &byte, 1, 7 * kPage) == 1 && byte == 55);
  expect_childless();
  return passed();
}
