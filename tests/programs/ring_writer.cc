// ring_writer FILE: memory that the kernel writes to by a ring of io_uring(7), through pages that were registered with
// it, which is a write without a fault. At SIGUSR1 a page of FILE is read to each page of a buffer, and the buffer is
// unregistered. Prints READY, then WRITTEN; SIGTERM ends it with PASS when the buffer holds what was written last.
#include <fcntl.h>
#include <signal.h>
#include <sys/uio.h>

#include "tests/workloads/ring.h"

using workload::fail;

namespace {
constexpr size_t kPages = 64, kPage = 4096;
alignas(4096) char buffer[kPages * kPage];

void expect_all(char wanted) {
  for (size_t i = 0; i < sizeof buffer; ++i)
    if (buffer[i] != wanted) {
      printf("FAIL byte %zu of the buffer is %d, not %d\n", i, buffer[i], wanted);
      fflush(stdout);
      _exit(1);
    }
}
}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGUSR1), sigaddset(&wanted, SIGTERM);
  sigprocmask(SIG_BLOCK, &wanted, nullptr);
  workload::Ring ring;
  if (!ring.make(8, 0)) {
    puts("SKIP");
    return fflush(stdout);
  }
  memset(buffer, 1, sizeof buffer);
  const iovec part{buffer, sizeof buffer};
  if (syscall(SYS_io_uring_register, ring.fd(), IORING_REGISTER_BUFFERS, &part, 1) != 0) return 3;
  puts("READY");
  fflush(stdout);
  int signal = 0;
  sigwait(&wanted, &signal);
  char last = 1;
  if (signal == SIGUSR1) {
    const int file = open(argv[1], O_RDONLY | O_CLOEXEC);
    for (size_t page = 0; page < kPages; ++page) {
      auto& entry = ring.prepare(IORING_OP_READ_FIXED, page);
      entry.fd = file, entry.len = kPage, entry.buf_index = 0, entry.off = 0;
      entry.addr = reinterpret_cast<uint64_t>(buffer + page * kPage);
      if (ring.submit(1) != 1) return 4;
      ring.expect(page, kPage, __LINE__);
    }
    close(file);
    if (syscall(SYS_io_uring_register, ring.fd(), IORING_UNREGISTER_BUFFERS, nullptr, 0) != 0) return 5;
    last = 2;
    puts("WRITTEN");
    fflush(stdout);
    sigwait(&wanted, &signal);
  }
  expect_all(last);
  puts("PASS");
  return fflush(stdout);
}
