// POSIX shared memory (files of /dev/shm) of several processes: one with its name, one that is unlinked while both have
// it, one that only a mapping of the child keeps.
#include <sys/mman.h>

#include "family.h"

using namespace workload;

namespace {

constexpr size_t kPage = 4096, kSize = 6 * kPage;

unsigned char* make(const std::string& name, int seed, int& fd) {
  shm_unlink(name.c_str());
  fd = open(("/dev/shm" + name).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  MUST(fd >= 0 && ftruncate(fd, kSize) == 0);
  void* at = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  MUST(at != MAP_FAILED);
  fill(at, kSize, seed);
  return static_cast<unsigned char*>(at);
}

#define CHECK(condition) \
  if (!(condition)) _exit(__LINE__ % 80 + 10)

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  const std::string base = "/mini-criu-test-" + std::to_string(getpid()) + "-";
  int named_fd, gone_fd, lonely_fd;
  unsigned char *named = make(base + "named", 1, named_fd), *gone = make(base + "gone", 2, gone_fd),
                *lonely = make(base + "lonely", 3, lonely_fd);
  shm_unlink((base + "gone").c_str());
  shm_unlink((base + "lonely").c_str());
  close(lonely_fd);
  pid_t child = fork_child([&] {
    close(named_fd);
    CHECK(munmap(gone, 2 * kPage) == 0);
    CHECK(mprotect(named, kSize, PROT_READ) == 0);
    nursery.grown();
    wait_for_end();
    CHECK(differs(lonely, kSize, 3) == -1 && named[5] == 71 && gone[5 * kPage] == 72);
    struct stat status {};
    CHECK(fstat(gone_fd, &status) == 0 && status.st_nlink == 0 && status.st_size == kSize);
    gone[5 * kPage + 1] = 73;
    _exit(2);
  });
  nursery.expect(1);
  MUST(munmap(lonely, kSize) == 0);
  ready();
  wait_for_end();
  MUST_BE(differs(named, kSize, 1), -1);
  MUST_BE(differs(gone, kSize, 2), -1);
  named[5] = 71;
  gone[5 * kPage] = 72;
  expect_end(child, 2);
  unsigned char byte = 0;
  MUST(pread(gone_fd, &byte, 1, 5 * kPage + 1) == 1);
  MUST_BE(byte, 73);
  MUST(shm_unlink((base + "named").c_str()) == 0);
  expect_childless();
  return passed();
}
