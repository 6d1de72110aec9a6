#include "tests/fake_cuda/mailbox.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>

namespace fake_cuda {

std::string folder() {
  const char* value = std::getenv("FAKE_CUDA_DIR");
  return value ? value : "";
}

std::string mailbox_path(int pid) {
  return folder() + "/control-" + std::to_string(pid);
}

Mailbox* map_mailbox(const std::string& path, bool create) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | (create ? O_CREAT | O_TRUNC : 0), 0600);
  if (fd < 0) return nullptr;
  if (create && ::ftruncate(fd, 4096) != 0) return ::close(fd), nullptr;
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  return page == MAP_FAILED ? nullptr : static_cast<Mailbox*>(page);
}

void futex_wait(std::atomic<uint32_t>& word, uint32_t value, int timeout_ms) {
  const timespec time{timeout_ms / 1000, timeout_ms % 1000 * 1'000'000L};
  ::syscall(SYS_futex, &word, FUTEX_WAIT, value, timeout_ms ? &time : nullptr, nullptr, 0);
}

void futex_wake(std::atomic<uint32_t>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

}  // namespace fake_cuda
