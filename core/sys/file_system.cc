#include "core/sys/file_system.h"

#include <sys/statvfs.h>

#include "core/sys/failure.h"

namespace mcr::sys {

uint64_t free_bytes(int fd) {
  struct statvfs status {};
  check(::fstatvfs(fd, &status), "fstatvfs");
  return static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
}

}  // namespace mcr::sys
