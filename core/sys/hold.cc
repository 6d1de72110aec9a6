#include "core/sys/hold.h"

#include <fcntl.h>

#include "core/sys/failure.h"

namespace mcr::sys {
namespace {

struct flock whole_file() {
  struct flock range {};
  range.l_type = F_WRLCK, range.l_whence = SEEK_SET;
  return range;
}

}  // namespace

bool try_hold(int fd) {
  struct flock range = whole_file();
  if (::fcntl(fd, F_OFD_SETLK, &range) == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  throw_errno("lock a file");
}

bool is_held(int fd) {
  struct flock range = whole_file();
  check(::fcntl(fd, F_OFD_GETLK, &range), "ask for the lock of a file");
  return range.l_type != F_UNLCK;
}

}  // namespace mcr::sys
