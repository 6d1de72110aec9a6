// Probes: rights and settings of the host.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>

#include "core/base/unique_fd.h"
#include "core/sys/failure.h"
#include "core/sys/features_probe.h"
#include "core/sys/file.h"

namespace mcr::sys::probe {
namespace {

bool has_effective(int number) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data = {};
  if (syscall(SYS_capget, &header, data.data()) < 0) return false;
  return (data[static_cast<size_t>(number) / 32].effective >> (number % 32) & 1) != 0;
}

bool is_cgroup2(const char* path) {
  struct statfs info = {};
  return statfs(path, &info) == 0 && info.f_type == CGROUP2_SUPER_MAGIC;
}

}  // namespace

Finding capability(int number) {
  return has_effective(number) ? yes() : no("not among the effective capabilities of this process");
}

// The bytes of a pipe are looked at with tee(2), which leaves them there, and carried on with splice(2).
Finding tee_and_splice() {
  const Pipe from = make_pipe(O_NONBLOCK | O_CLOEXEC), to = make_pipe(O_NONBLOCK | O_CLOEXEC);
  const UniqueFd file(memfd_create("probe", MFD_CLOEXEC));
  if (write(from.write_end.get(), "m", 1) != 1) return by_errno(-1, "write to a pipe");
  const ssize_t copied = ::tee(from.read_end.get(), to.write_end.get(), 1, SPLICE_F_NONBLOCK);
  if (copied != 1) return by_errno(-1, "tee");
  if (!file.valid()) return yes("splice was not tried");
  const ssize_t moved = ::splice(to.read_end.get(), nullptr, file.get(), nullptr, 1, SPLICE_F_NONBLOCK);
  return moved == 1 ? yes() : by_errno(-1, "splice");
}

// kernel.io_uring_disabled (6.6) and the seccomp profiles of containers forbid it.
Finding io_uring() {
  io_uring_params params = {};
  const UniqueFd fd(static_cast<int>(syscall(SYS_io_uring_setup, 1, &params)));
  return by_errno(fd.get(), "io_uring_setup");
}

// Documentation/admin-guide/LSM/Yama.rst: 0 as ever, 1 descendants only, 2 with CAP_SYS_PTRACE only, 3 nobody at all.
// The capability lifts 1 and 2.
Finding yama_ptrace_scope() {
  const std::optional<std::string> text = try_read_text("/proc/sys/kernel/yama/ptrace_scope");
  if (!text || text->empty()) return yes("no Yama");
  const char scope = text->front();
  const std::string detail = fmt::format("scope {}", scope);
  const bool free = scope == '0' || ((scope == '1' || scope == '2') && has_effective(CAP_SYS_PTRACE));
  if (free) return yes(detail);
  return no(scope == '1' ? "only descendants can be traced" : "tracing is forbidden", detail);
}

Finding cgroups() {
  if (is_cgroup2("/sys/fs/cgroup")) return yes("version 2");
  struct statfs info = {};
  if (statfs("/sys/fs/cgroup", &info) < 0) return by_errno(-1, "/sys/fs/cgroup");
  if (is_cgroup2("/sys/fs/cgroup/unified")) return yes("versions 1 and 2");
  const bool is_first = info.f_type == TMPFS_MAGIC || info.f_type == CGROUP_SUPER_MAGIC;
  return is_first ? yes("version 1") : no("/sys/fs/cgroup: no control groups are mounted there");
}

}  // namespace mcr::sys::probe
