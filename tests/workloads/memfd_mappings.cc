// Memfds that are mapped: shared, private with changed pages, from two offsets, with the descriptor closed; sealed
// against writing with a mapping for reading; sealed against future writing while an older mapping stays writable.
#include <sys/mman.h>

#include "contract.h"

namespace {

constexpr size_t kPage = 4096, kSize = 20 * kPage;
constexpr int kFutureWrite = 0x10;  // F_SEAL_FUTURE_WRITE

unsigned char* map(int prot, int flags, int fd, size_t size = kSize, off_t offset = 0) {
  auto* at = static_cast<unsigned char*>(mmap(nullptr, size, prot, flags, fd, offset));
  MUST(at != MAP_FAILED);
  return at;
}

int make(const char* name) {
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  MUST(fd >= 0 && ftruncate(fd, kSize) == 0);
  return fd;
}

struct Sealed {
  int fd;
  unsigned char *own, *reader;
  void* shared;
};

Sealed make_sealed(int fd) {
  Sealed s{fd, nullptr, nullptr, nullptr};
  std::vector<unsigned char> content(kSize);
  workload::fill(content.data(), kSize, 5);
  MUST(pwrite(fd, content.data(), kSize, 0) == static_cast<ssize_t>(kSize));
  MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
  s.own = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
  workload::fill(s.own, kPage, 6);
  // Since 6.7; before, only a descriptor for reading could be mapped.
  s.shared = mmap(nullptr, kSize, PROT_READ, MAP_SHARED, fd, 0);
  int reader = open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY);
  s.reader = map(PROT_READ, MAP_SHARED, reader);
  close(reader);
  return s;
}

void check_sealed(const Sealed& s) {
  MUST_BE(fcntl(s.fd, F_GET_SEALS), F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  MUST_BE(workload::differs(s.reader, kSize, 5), -1);
  MUST_BE(workload::differs(s.own, kPage, 6), -1);
  MUST(memcmp(s.own + kPage, s.reader + kPage, kSize - kPage) == 0);
  MUST(mprotect(s.reader, kSize, PROT_READ | PROT_WRITE) != 0);
  if (s.shared == MAP_FAILED) return;
  MUST(memcmp(s.shared, s.reader, kSize) == 0);
  MUST(mprotect(s.shared, kSize, PROT_READ | PROT_WRITE) != 0);
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  int kept = make("kept"), closed = make("closed"), sealed = make("sealed"), future = make("future");
  auto* shared = map(PROT_READ | PROT_WRITE, MAP_SHARED, kept);
  workload::fill(shared, 10 * kPage, 1);
  auto* part = map(PROT_READ, MAP_SHARED, kept, 4 * kPage, 5 * kPage);
  auto* own = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, kept);
  workload::fill(own + kPage, kPage, 2);

  auto* lost = map(PROT_READ | PROT_WRITE, MAP_SHARED, closed);
  auto* lost_too = map(PROT_READ | PROT_WRITE, MAP_SHARED, closed, 2 * kPage, 3 * kPage);
  auto* lost_own = map(PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, closed, 8 * kPage, 0);
  workload::fill(lost, kSize, 3);
  workload::fill(lost_own, kPage, 4);
  close(closed);

  const Sealed sealed_views = make_sealed(sealed);

  auto* before = map(PROT_READ | PROT_WRITE, MAP_SHARED, future);
  workload::fill(before, kSize, 8);
  MUST(fcntl(future, F_ADD_SEALS, kFutureWrite) == 0);

  workload::ready();
  workload::wait_for_end();
  MUST_BE(workload::differs(shared, 10 * kPage, 1), -1);
  MUST_BE(workload::differs_from(shared + 10 * kPage, 10 * kPage, 0), -1);
  MUST(memcmp(part, shared + 5 * kPage, 4 * kPage) == 0);
  MUST(memcmp(own, shared, kPage) == 0 && memcmp(own + 2 * kPage, shared + 2 * kPage, 18 * kPage) == 0);
  MUST_BE(workload::differs(own + kPage, kPage, 2), -1);
  shared[6 * kPage] ^= 1;
  MUST_BE(part[kPage], shared[6 * kPage]);
  MUST_BE(own[6 * kPage], shared[6 * kPage]);
  unsigned char byte;
  MUST(pread(kept, &byte, 1, 6 * kPage) == 1 && byte == shared[6 * kPage]);

  MUST_BE(workload::differs(lost, kSize, 3), -1);
  MUST_BE(workload::differs(lost_own, kPage, 4), -1);
  MUST(memcmp(lost_own + kPage, lost + kPage, 7 * kPage) == 0);
  lost_too[0] ^= 1;
  MUST_BE(lost[3 * kPage], lost_too[0]);

  check_sealed(sealed_views);
  MUST_BE(fcntl(future, F_GET_SEALS), kFutureWrite);
  MUST_BE(workload::differs(before, kSize, 8), -1);
  before[5] ^= 1;
  MUST(pread(future, &byte, 1, 5) == 1 && byte == before[5]);
  MUST(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, future, 0) == MAP_FAILED);
  MUST(pwrite(future, "x", 1, 0) < 0 && errno == EPERM);
  return workload::passed();
}
