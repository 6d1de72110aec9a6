#include "core/engine/caller.h"

#include <linux/capability.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "core/sys/namespaces.h"
#include "core/sys/rights.h"

#ifndef CAP_CHECKPOINT_RESTORE
#define CAP_CHECKPOINT_RESTORE 40  // 5.9
#endif

namespace mcr::engine {
namespace {

bool is_same_user(const procfs::Status& theirs, const procfs::Status& ours) {
  const auto all = [](const std::array<uint32_t, 4>& ids, uint32_t id) {
    return std::all_of(ids.begin(), ids.begin() + 3, [id](uint32_t other) { return other == id; });
  };
  return all(theirs.uid, ours.uid[3]) && all(theirs.gid, ours.gid[3]);
}

std::string ids_of(const procfs::Status& status) {
  const auto text = [](const std::array<uint32_t, 4>& ids) {
    return ids[0] == ids[1] && ids[1] == ids[2] ? fmt::format("{}", ids[0])
                                                : fmt::format("{}/{}/{}", ids[0], ids[1], ids[2]);
  };
  return fmt::format("user {} and group {}", text(status.uid), text(status.gid));
}

}  // namespace

Caller identify_caller() {
  Caller caller;
  caller.status = procfs::parse_status(sys::read_text("/proc/self/status"));
  caller.securebits = sys::own_securebits();
  caller.has_checkpoint_right =
      (caller.may(CAP_CHECKPOINT_RESTORE) || caller.may(CAP_SYS_ADMIN)) && sys::owns_pid_namespace();
  if (sys::is_elevated())
    caller.status.cap_inheritable = caller.status.cap_permitted = caller.status.cap_effective =
        caller.status.cap_ambient = 0;
  return caller;
}

void refuse_untraceable(HostPid pid, const Caller& caller) {
  if (caller.may(CAP_SYS_PTRACE)) return;
  const auto status = procfs::parse_status(sys::read_text(fmt::format("/proc/{}/status", pid)));
  const auto refuse = [](const std::string& reason, const std::string& remedy) {
    throw Error(Fault::refused, reason + "; CAP_SYS_PTRACE is the right that is missing", remedy);
  };
  if (!is_same_user(status, caller.status))
    refuse(fmt::format("it belongs to {}, mini-criu runs as {}", ids_of(status), ids_of(caller.status)),
           "run mini-criu as that user, or as root");
  // Files of /proc/PID belong to root when the process may be traced by root only (proc(5)).
  const auto memory = sys::try_stat(fmt::format("/proc/{}/mem", pid));
  if (memory && memory->st_uid != status.uid[1])
    refuse("it is not dumpable: its program may not be read, has changed its user, or asked for it (PR_SET_DUMPABLE)",
           "run mini-criu as root");
  const uint64_t more = status.cap_permitted & ~caller.capabilities();
  if (more != 0 && !caller.has_checkpoint_right && !sys::lives_in_own_namespaces(pid))
    refuse(fmt::format("it has capabilities that mini-criu lacks: {}", sys::capability_names(more)),
           "run mini-criu as root");
}

}  // namespace mcr::engine
