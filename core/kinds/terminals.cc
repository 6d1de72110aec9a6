// Terminals in the table of open files: those that control processes.
#include "core/kinds/open_files.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"
#include "core/trace/frozen_tree.h"

namespace mcr::kinds {

void OpenFiles::collect_ptys(const std::function<int(HostPid)>& pidfd_of) {
  ptys_.collect(pidfd_of, {members_.begin(), members_.end()});
}

void OpenFiles::look_at_controlling_terminal(HostPid pid) const {
  if (policy_.shell_job || !policy_.external.empty()) return;
  const auto text = sys::try_read_text(fmt::format("/proc/{}/stat", pid));
  if (!text) return;
  const auto stat = procfs::parse_stat(*text);
  if (stat.tty_nr == 0 || ptys_.has_terminal(stat.tty_nr)) return;
  throw Error(Fault::refused, "its controlling terminal is outside of the tree",
              "give --shell-job to have it replaced by the terminal of `restore`, or start it with setsid");
}

}  // namespace mcr::kinds
