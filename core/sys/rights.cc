#include "core/sys/rights.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string_view>

#include "core/sys/failure.h"

namespace mcr::sys {
namespace {

constexpr int kCheckpointRestore = 40;  // CAP_CHECKPOINT_RESTORE, 5.9

void keep_capabilities(uint64_t mask) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
  check(::syscall(SYS_capget, &header, data.data()), "capget");
  for (size_t i = 0; i < data.size(); ++i) {
    const auto part = static_cast<uint32_t>(mask >> (32 * i));
    data[i].permitted &= part;
    data[i].effective &= part;
    data[i].inheritable = 0;
  }
  check(::syscall(SYS_capset, &header, data.data()), "capset");
}

}  // namespace

bool is_elevated() {
  return ::getauxval(AT_SECURE) != 0;
}

void give_up_file_rights() {
  if (!is_elevated()) return;
  if (::getuid() != ::geteuid() || ::getgid() != ::getegid())
    throw Error(Fault::refused, "mini-criu was started through a set-user-id or set-group-id bit",
                "take the bit away and give the program CAP_CHECKPOINT_RESTORE instead (docs/rights.md)");
  keep_capabilities(uint64_t{1} << kCheckpointRestore);
  // Such a process is not dumpable: its own user could not trace what it clones.
  check(::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl(PR_SET_DUMPABLE)");
}

EffectiveRights::EffectiveRights() {
  static_assert(sizeof before_ == _LINUX_CAPABILITY_U32S_3 * sizeof(__user_cap_data_struct));
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
  check(::syscall(SYS_capget, &header, data.data()), "capget");
  std::memcpy(before_, data.data(), sizeof before_);
  for (auto& part : data) part.effective = part.permitted;
  check(::syscall(SYS_capset, &header, data.data()), "capset");
}
EffectiveRights::~EffectiveRights() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  ::syscall(SYS_capset, &header, before_);
}

uint32_t own_securebits() {
  return static_cast<uint32_t>(check(::prctl(PR_GET_SECUREBITS, 0, 0, 0, 0), "prctl(PR_GET_SECUREBITS)"));
}

namespace {

int wanted_access(int flags) {
  const int access = flags & O_ACCMODE;
  return access == O_RDONLY ? R_OK : access == O_WRONLY ? W_OK : R_OK | W_OK;
}

}  // namespace

bool may_open(const std::string& path, int flags) {
  if (flags & O_PATH) return true;
  return ::faccessat(AT_FDCWD, path.c_str(), wanted_access(flags), AT_EACCESS) == 0 || errno == ENOENT;
}

bool may_open(int place, int flags) {
  if (flags & O_PATH) return true;
  if (::syscall(SYS_faccessat2, place, "", wanted_access(flags), AT_EACCESS | AT_EMPTY_PATH) == 0) return true;
  if (errno != ENOSYS && errno != EPERM) return false;  // a sandbox may not know the call (5.8)
  const std::string door = "/proc/self/fd/" + std::to_string(place);
  return ::faccessat(AT_FDCWD, door.c_str(), wanted_access(flags), AT_EACCESS) == 0;
}

std::string capability_name(int number) {
  static constexpr auto kNames = std::to_array<std::string_view>({"CHOWN",
                                                                  "DAC_OVERRIDE",
                                                                  "DAC_READ_SEARCH",
                                                                  "FOWNER",
                                                                  "FSETID",
                                                                  "KILL",
                                                                  "SETGID",
                                                                  "SETUID",
                                                                  "SETPCAP",
                                                                  "LINUX_IMMUTABLE",
                                                                  "NET_BIND_SERVICE",
                                                                  "NET_BROADCAST",
                                                                  "NET_ADMIN",
                                                                  "NET_RAW",
                                                                  "IPC_LOCK",
                                                                  "IPC_OWNER",
                                                                  "SYS_MODULE",
                                                                  "SYS_RAWIO",
                                                                  "SYS_CHROOT",
                                                                  "SYS_PTRACE",
                                                                  "SYS_PACCT",
                                                                  "SYS_ADMIN",
                                                                  "SYS_BOOT",
                                                                  "SYS_NICE",
                                                                  "SYS_RESOURCE",
                                                                  "SYS_TIME",
                                                                  "SYS_TTY_CONFIG",
                                                                  "MKNOD",
                                                                  "LEASE",
                                                                  "AUDIT_WRITE",
                                                                  "AUDIT_CONTROL",
                                                                  "SETFCAP",
                                                                  "MAC_OVERRIDE",
                                                                  "MAC_ADMIN",
                                                                  "SYSLOG",
                                                                  "WAKE_ALARM",
                                                                  "BLOCK_SUSPEND",
                                                                  "AUDIT_READ",
                                                                  "PERFMON",
                                                                  "BPF",
                                                                  "CHECKPOINT_RESTORE"});
  const auto index = static_cast<size_t>(number);
  return index < kNames.size() ? fmt::format("CAP_{}", kNames[index]) : fmt::format("capability {}", number);
}

std::string capability_names(uint64_t mask) {
  std::string names;
  for (int number = 0; number < 64; ++number)
    if (mask >> number & 1) names += (names.empty() ? "" : ", ") + capability_name(number);
  return names;
}

}  // namespace mcr::sys
