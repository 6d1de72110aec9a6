#include "core/sys/fanotify_file.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/fanotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <optional>

#include "core/sys/failure.h"

namespace mcr::sys {
namespace {

// Of this thread alone (capabilities(7)).
class WithoutCapability {
 public:
  explicit WithoutCapability(int number) {
    check(::syscall(SYS_capget, &header_, before_), "capget");
    __user_cap_data_struct reduced[_LINUX_CAPABILITY_U32S_3] = {before_[0], before_[1]};
    reduced[number / 32].effective &= ~(1U << number % 32);
    check(::syscall(SYS_capset, &header_, reduced), "capset");
  }
  ~WithoutCapability() { ::syscall(SYS_capset, &header_, before_); }  // what is permitted may always be taken again
  WithoutCapability(const WithoutCapability&) = delete;
  WithoutCapability& operator=(const WithoutCapability&) = delete;

 private:
  __user_cap_header_struct header_{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct before_[_LINUX_CAPABILITY_U32S_3] = {};
};

}  // namespace

UniqueFd make_fanotify(uint32_t flags, uint32_t event_flags, bool unprivileged) {
  std::optional<WithoutCapability> without;
  if (unprivileged) without.emplace(CAP_SYS_ADMIN);
  // FAN_CLOEXEC stays a flag of the group, which shows it: it may not be added.
  UniqueFd fd(check(::fanotify_init(flags, event_flags), fmt::format("fanotify_init {:#x}", flags)));
  check(::fcntl(fd.get(), F_SETFD, FD_CLOEXEC), "fcntl(F_SETFD)");
  return fd;
}

void mark(int fanotify, uint32_t flags, uint64_t mask, const std::string& path) {
  check(::fanotify_mark(fanotify, flags | FAN_MARK_ADD, mask, AT_FDCWD, path.c_str()),
        fmt::format("fanotify_mark {:#x} {:#x} {}", flags, mask, path));
}

}  // namespace mcr::sys
