#include "core/sys/descriptor.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "core/sys/failure.h"

namespace mcr::sys {

FileOwner get_owner(int fd) {
  f_owner_ex owner{};
  check(::fcntl(fd, F_GETOWN_EX, &owner), "fcntl(F_GETOWN_EX)");
  return {owner.type, owner.pid, check(::fcntl(fd, F_GETSIG), "fcntl(F_GETSIG)")};
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
void set_modification_time(int fd, int64_t ns) {
  const timespec times[2] = {{0, UTIME_OMIT}, {ns / 1'000'000'000, ns % 1'000'000'000}};
  check(::futimens(fd, times), "futimens");
}

bool try_set_attribute(int fd, const char* name) {
  return ::fsetxattr(fd, name, "", 0, 0) == 0;
}
bool has_attribute(const std::string& path, const char* name) {
  return ::lgetxattr(path.c_str(), name, nullptr, 0) >= 0;
}
void remove_attribute(int fd, const char* name) {
  check(::fremovexattr(fd, name), "fremovexattr");
}
// epoll takes what has a poll operation and refuses the rest (epoll_ctl(2), EPERM).
bool can_be_polled(int fd) {
  const UniqueFd set(check(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1"));
  epoll_event event{};
  return ::epoll_ctl(set.get(), EPOLL_CTL_ADD, fd, &event) == 0 || errno != EPERM;
}
void link_open_file(int fd, const std::string& path) {
  const std::string door = fmt::format("/proc/self/fd/{}", fd);
  check(::linkat(AT_FDCWD, door.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW), "link " + path);
}

}  // namespace mcr::sys
