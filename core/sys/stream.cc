#include "core/sys/stream.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "core/sys/failure.h"

namespace mcr::sys {
namespace {

void wait_for(int fd, short events) {
  pollfd entry{fd, events, 0};
  if (::poll(&entry, 1, -1) < 0 && errno != EINTR) throw_errno("poll");
}

// SIGPIPE is sent to the thread that writes (pipe_write() in fs/pipe.c), so it is enough that this one blocks it and
// takes it back. One that was pending before stays.
class NoSigpipe {
 public:
  NoSigpipe() {
    sigset_t pending;
    ::sigemptyset(&only_);
    ::sigaddset(&only_, SIGPIPE);
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &only_, &old_);
  }
  ~NoSigpipe() {
    const timespec now{0, 0};
    const int code = errno;
    if (!was_pending_) ::sigtimedwait(&only_, nullptr, &now);
    ::pthread_sigmask(SIG_SETMASK, &old_, nullptr);
    errno = code;
  }
  NoSigpipe(const NoSigpipe&) = delete;
  NoSigpipe& operator=(const NoSigpipe&) = delete;

 private:
  sigset_t only_, old_;
  bool was_pending_ = false;
};

}  // namespace

void write_stream(int fd, const void* data, size_t size) {
  const NoSigpipe guard;
  for (size_t done = 0; done < size;) {
    const ssize_t n = ::write(fd, static_cast<const char*>(data) + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      wait_for(fd, POLLOUT);
      continue;
    }
    done += static_cast<size_t>(check(n, "write"));
  }
}

size_t read_stream(int fd, void* data, size_t size) {
  for (;;) {
    const ssize_t n = ::read(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      wait_for(fd, POLLIN);
      continue;
    }
    return static_cast<size_t>(check(n, "read"));
  }
}

void sync_stream(int fd) {
  if (::fsync(fd) < 0 && errno != EINVAL && errno != EROFS && errno != EOPNOTSUPP) throw_errno("fsync");
}

void become_standard(int fd, int number) {
  check(::dup2(fd, number), "dup2");
}

void punch_hole(int fd, uint64_t offset, uint64_t bytes) {
  int result = 0;
  do
    result = ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                         static_cast<off_t>(bytes));
  while (result < 0 && errno == EINTR);
  check(result, "fallocate");
}

NoSignals::NoSignals() {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &old_);
}

NoSignals::~NoSignals() {
  ::pthread_sigmask(SIG_SETMASK, &old_, nullptr);
}

Window::Window(int fd, uint64_t offset, uint64_t bytes) : bytes_(bytes) {
  address_ = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, static_cast<off_t>(offset));
  if (address_ == MAP_FAILED) throw_errno("mmap");
}

Window::~Window() {
  ::munmap(address_, bytes_);
}

}  // namespace mcr::sys
