// Memfds as descriptors: a name of any bytes, content with a hole, position, a second open file made through /proc, a
// duplicate, modes, and every combination of seals that programs use.
#include <sys/mman.h>

#include "contract.h"

namespace {

constexpr size_t kPage = 4096;

struct Sealed {
  unsigned flags;
  int seals;
  int fd = -1, seals_then = 0;
};

std::string link_of(int fd) {
  char target[512];
  ssize_t n = readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target);
  return n < 0 ? "?" : std::string(target, static_cast<size_t>(n));
}

constexpr unsigned kNoExec = 8;                   // MFD_NOEXEC_SEAL, 6.3
constexpr int kFutureWrite = 0x10, kExec = 0x20;  // F_SEAL_*

std::vector<Sealed> make_sealed(const std::vector<unsigned char>& content) {
  std::vector<Sealed> all{{MFD_ALLOW_SEALING, 0},
                          {MFD_ALLOW_SEALING, F_SEAL_SHRINK},
                          {MFD_ALLOW_SEALING, F_SEAL_GROW | F_SEAL_SHRINK},
                          {MFD_ALLOW_SEALING, F_SEAL_WRITE},
                          {MFD_ALLOW_SEALING, F_SEAL_SEAL | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE},
                          {MFD_ALLOW_SEALING, kFutureWrite},
                          {MFD_ALLOW_SEALING, kFutureWrite | F_SEAL_SEAL},
                          {kNoExec, 0},
                          {kNoExec, F_SEAL_SEAL | F_SEAL_WRITE}};
  for (Sealed& s : all) {
    s.fd = memfd_create("sealed", s.flags);
    if (s.fd < 0 && s.flags == kNoExec) s.fd = memfd_create("sealed", MFD_ALLOW_SEALING);
    MUST(s.fd >= 0 && write(s.fd, content.data(), 5000) == 5000);
    if (s.flags == kNoExec && (s.seals & F_SEAL_SEAL)) fcntl(s.fd, F_ADD_SEALS, kExec);
    MUST(fcntl(s.fd, F_ADD_SEALS, s.seals) == 0 || s.seals == 0);
    s.seals_then = fcntl(s.fd, F_GET_SEALS);
  }
  return all;
}

void check_sealed(const std::vector<Sealed>& all, const std::vector<unsigned char>& content) {
  std::vector<unsigned char> now(5000);
  for (size_t i = 0; i < all.size(); ++i) {
    const Sealed& s = all[i];
    if (fcntl(s.fd, F_GET_SEALS) != s.seals_then)
      workload::fail("memfd %zu has seals %#x, had %#x", i, fcntl(s.fd, F_GET_SEALS), s.seals_then);
    MUST(pread(s.fd, now.data(), 5000, 0) == 5000 && memcmp(now.data(), content.data(), 5000) == 0);
    const bool may_write = !(s.seals_then & (F_SEAL_WRITE | kFutureWrite));
    MUST((pwrite(s.fd, "y", 1, 0) == 1) == may_write);
    MUST((ftruncate(s.fd, 4000) == 0) == !(s.seals_then & F_SEAL_SHRINK));
    MUST((fcntl(s.fd, F_ADD_SEALS, F_SEAL_GROW) == 0) == !(s.seals_then & F_SEAL_SEAL));
  }
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const char name[] = "a \xff name/with\n\"anything\" (deleted)";
  int fd = memfd_create(name, MFD_CLOEXEC);
  MUST(fd >= 0);
  std::vector<unsigned char> content(3 * kPage + 100);
  workload::fill(content.data(), content.size(), 7);
  MUST(pwrite(fd, content.data(), content.size(), 0) == static_cast<ssize_t>(content.size()));
  MUST(ftruncate(fd, 300 * kPage + 5) == 0);
  MUST(pwrite(fd, content.data(), kPage, 200 * kPage) == static_cast<ssize_t>(kPage));
  MUST(fchmod(fd, 0640) == 0);
  MUST(lseek(fd, 1234, SEEK_SET) == 1234);
  int twin = dup(fd);
  int reader = open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY);
  MUST(twin >= 0 && reader >= 0 && lseek(reader, 200 * kPage, SEEK_SET) > 0);
  const std::string link = link_of(fd);

  std::vector<Sealed> all = make_sealed(content);

  workload::ready();
  workload::wait_for_end();
  MUST(link_of(fd) == link);
  MUST_BE(lseek(fd, 0, SEEK_CUR), 1234);
  MUST_BE(lseek(reader, 0, SEEK_CUR), 200 * kPage);
  struct stat status;
  MUST(fstat(fd, &status) == 0);
  MUST_BE(status.st_size, 300 * kPage + 5);
  MUST_BE(status.st_mode & 07777, 0640);
  MUST(status.st_blocks * 512 <= static_cast<long>(8 * kPage));  // the hole is one
  MUST_BE(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL);
  std::vector<unsigned char> now(content.size());
  MUST(pread(reader, now.data(), now.size(), 0) == static_cast<ssize_t>(now.size()));
  MUST(now == content);
  MUST(read(reader, now.data(), kPage) == static_cast<ssize_t>(kPage));
  MUST(memcmp(now.data(), content.data(), kPage) == 0);
  MUST(pread(fd, now.data(), kPage, 100 * kPage) == static_cast<ssize_t>(kPage));
  MUST_BE(workload::differs_from(now.data(), kPage, 0), -1);
  MUST(write(reader, "x", 1) < 0 && errno == EBADF);
  MUST(lseek(twin, 77, SEEK_SET) == 77);
  MUST_BE(lseek(fd, 0, SEEK_CUR), 77);
  MUST(pwrite(fd, "shared", 6, 0) == 6 && pread(reader, now.data(), 6, 0) == 6);
  MUST(memcmp(now.data(), "shared", 6) == 0);
  check_sealed(all, content);
  return workload::passed();
}
