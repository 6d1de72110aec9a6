#include "core/sys/file_system.h"

#include <sys/statvfs.h>

#include <filesystem>
#include <system_error>

#include "core/sys/failure.h"

namespace mcr::sys {

uint64_t free_bytes(int fd) {
  struct statvfs status {};
  check(::fstatvfs(fd, &status), "fstatvfs");
  return static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
}

void remove_tree(const std::string& path) {
  std::error_code failure;
  std::filesystem::remove_all(path, failure);
  if (failure) throw_code(failure.value(), "remove " + path);
}

}  // namespace mcr::sys
