#include "core/sys/descriptor.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "core/sys/failure.h"

namespace mcr::sys {

FileOwner get_owner(int fd) {
  f_owner_ex owner{};
  check(::fcntl(fd, F_GETOWN_EX, &owner), "fcntl(F_GETOWN_EX)");
  return {owner.type, owner.pid, check(::fcntl(fd, F_GETSIG), "fcntl(F_GETSIG)")};
}
std::optional<int> try_compare_files(HostPid a, int fd_a, HostPid b, int fd_b) {
  const long order = ::syscall(SYS_kcmp, a.get(), b.get(), KCMP_FILE, fd_a, fd_b);
  if (order >= 0) return static_cast<int>(order);
  if (errno == ESRCH || errno == EBADF || errno == EPERM || errno == EACCES) return std::nullopt;
  throw_errno("kcmp");
}
void set_owner_signal(int fd, int signal) {
  check(::fcntl(fd, F_SETSIG, signal), "fcntl(F_SETSIG)");
}
void set_ownership(int fd, uint32_t uid, uint32_t gid) {
  check(::fchown(fd, uid, gid), "fchown");
}
void set_mode(int fd, uint32_t mode) {
  check(::fchmod(fd, mode), "fchmod");
}
void set_path_ownership(const std::string& path, uint32_t uid, uint32_t gid) {
  check(::lchown(path.c_str(), uid, gid), "chown " + path);
}
void set_path_mode(const std::string& path, uint32_t mode) {
  check(::chmod(path.c_str(), mode), "chmod " + path);
}
void set_modification_time(int fd, int64_t ns) {
  const timespec times[2] = {{0, UTIME_OMIT}, {ns / 1'000'000'000, ns % 1'000'000'000}};
  check(::futimens(fd, times), "futimens");
}

void set_modification_time_of(const std::string& path, int64_t ns) {
  const timespec times[2] = {{0, UTIME_OMIT}, {ns / 1'000'000'000, ns % 1'000'000'000}};
  check(::utimensat(AT_FDCWD, path.c_str(), times, 0), "utimensat " + path);
}

// epoll takes what has a poll operation and refuses the rest (epoll_ctl(2), EPERM).
bool can_be_polled(int fd) {
  const UniqueFd set(check(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
  epoll_event event{};
  return ::epoll_ctl(set.get(), EPOLL_CTL_ADD, fd, &event) == 0 || errno != EPERM;
}
void try_remove_attribute(const std::string& path, const char* name) {
  (void)::removexattr(path.c_str(), name);
}
void set_mode_of(const std::string& path, uint32_t mode) {
  check(::chmod(path.c_str(), mode), "chmod " + path);
}
void link_through(const std::string& door, const std::string& path) {
  check(::linkat(AT_FDCWD, door.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW), "link " + path);
}
uint64_t get_write_hint(int fd) {
  uint64_t hint = 0;
  return ::fcntl(fd, F_GET_RW_HINT, &hint) == 0 ? hint : 0;
}
void set_write_hint(int fd, uint64_t hint) {
  check(::fcntl(fd, F_SET_RW_HINT, &hint), "fcntl(F_SET_RW_HINT)");
}

std::optional<pid_t> find_lock(int fd, const LockRange& range) {
  struct flock lock {};
  lock.l_type = range.write ? F_WRLCK : F_RDLCK;
  lock.l_start = static_cast<off_t>(range.start), lock.l_len = static_cast<off_t>(range.bytes);
  if (::fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return std::nullopt;
  return lock.l_pid;
}

bool is_nfs(const std::string& path) {
  struct statfs fs {};
  return ::statfs(path.c_str(), &fs) == 0 && fs.f_type == NFS_SUPER_MAGIC;
}

bool is_overlay(const std::string& path) {
  struct statfs fs {};
  return ::statfs(path.c_str(), &fs) == 0 && fs.f_type == OVERLAYFS_SUPER_MAGIC;
}

namespace {
struct HandleBuffer {
  file_handle head;
  char bytes[MAX_HANDLE_SZ];
};
}  // namespace

std::optional<FileHandle> handle_of(const std::string& path) {
  HandleBuffer buffer{};
  buffer.head.handle_bytes = MAX_HANDLE_SZ;
  int mount = 0;
  if (::name_to_handle_at(AT_FDCWD, path.c_str(), &buffer.head, &mount, 0) < 0) return std::nullopt;
  return FileHandle{buffer.head.handle_type, {buffer.bytes, buffer.head.handle_bytes}};
}
std::optional<UniqueFd> open_handle(int mount, const FileHandle& handle, int flags) {
  HandleBuffer buffer{};
  if (handle.bytes.size() > MAX_HANDLE_SZ) return std::nullopt;
  buffer.head.handle_bytes = static_cast<unsigned>(handle.bytes.size());
  buffer.head.handle_type = handle.type;
  std::memcpy(buffer.bytes, handle.bytes.data(), handle.bytes.size());
  const int fd = ::open_by_handle_at(mount, &buffer.head, flags | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  return UniqueFd(fd);
}

void list_names(const std::string& folder, const std::function<void(std::string_view)>& take) {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(folder.c_str()), ::closedir);
  if (!dir) throw_errno("open folder " + folder);
  for (errno = 0;; errno = 0) {
    const dirent* entry = ::readdir(dir.get());
    if (!entry && errno != 0) throw_errno("list folder " + folder);
    if (!entry) return;
    if (const std::string_view name = entry->d_name; name != "." && name != "..") take(name);
  }
}

std::optional<std::string> find_entry(const std::string& folder, ino_t inode, size_t limit) {
  DIR* dir = ::opendir(folder.c_str());
  if (!dir) return std::nullopt;
  std::optional<std::string> name;
  for (size_t read = 0; !name && read < limit; ++read) {
    const dirent* entry = ::readdir(dir);
    if (!entry) break;
    if (entry->d_ino == inode) name = entry->d_name;
  }
  ::closedir(dir);
  return name;
}

}  // namespace mcr::sys
