#include "core/sys/place.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdio>

#include "core/sys/failure.h"

namespace mcr::sys {
namespace {

// For calls that take a path only: the last name of it is not followed by them.
std::string door_of(int dir, const std::string& name) {
  return fmt::format("/proc/self/fd/{}/{}", dir, name);
}

// Other than openat(2), this call refuses flags that mean nothing with O_PATH.
int open_without_links(int dir, const std::string& path, int flags) {
  if (flags & O_PATH) flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW;
  open_how how{};
  how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_NO_SYMLINKS;
  return static_cast<int>(::syscall(SYS_openat2, dir, path.c_str(), &how, sizeof how));
}

}  // namespace

std::optional<UniqueFd> probe_open_in(int dir, const std::string& path, int flags, int& code) {
  const int fd = open_without_links(dir, path, flags);
  if (fd >= 0) return UniqueFd(fd);
  code = errno;
  return std::nullopt;
}

UniqueFd open_in(int dir, const std::string& path, int flags) {
  return UniqueFd(check(open_without_links(dir, path, flags), "open " + path));
}

bool try_make_directory_at(int dir, const std::string& name, mode_t mode) {
  if (::mkdirat(dir, name.c_str(), mode) == 0) return true;
  if (errno == EEXIST) return false;
  throw_errno("make folder " + name);
}

void make_node_at(int dir, const std::string& name, mode_t mode, dev_t device, const std::string& target) {
  if (S_ISLNK(mode))
    check(::symlinkat(target.c_str(), dir, name.c_str()), "symlink " + name);
  else
    check(::mknodat(dir, name.c_str(), mode, device), "mknod " + name);
}

bool try_rename_to_free(int from_dir, const std::string& from, int to_dir, const std::string& to) {
  if (::renameat2(from_dir, from.c_str(), to_dir, to.c_str(), RENAME_NOREPLACE) == 0) return true;
  if (errno == EEXIST) return false;
  throw_errno("rename to " + to);
}

bool try_link_through(const std::string& door, int dir, const std::string& name) {
  if (::linkat(AT_FDCWD, door.c_str(), dir, name.c_str(), AT_SYMLINK_FOLLOW) == 0) return true;
  if (errno == EEXIST) return false;
  throw_errno("link " + name);
}

void set_ownership_at(int dir, const std::string& name, uint32_t uid, uint32_t gid) {
  check(::fchownat(dir, name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW), "chown " + name);
}

bool try_mark_at(int dir, const std::string& name, const char* attribute, const std::string& value) {
  return ::lsetxattr(door_of(dir, name).c_str(), attribute, value.data(), value.size(), 0) == 0;
}

bool try_mark(int fd, const char* attribute, const std::string& value) {
  return ::fsetxattr(fd, attribute, value.data(), value.size(), 0) == 0;
}

std::optional<std::string> mark_at(int dir, const std::string& name, const char* attribute) {
  char value[255];
  const ssize_t size = ::lgetxattr(door_of(dir, name).c_str(), attribute, value, sizeof value);
  if (size < 0) return std::nullopt;
  return std::string(value, static_cast<size_t>(size));
}

}  // namespace mcr::sys
