// What /proc says of every thread of a process, read by two threads of the engine when there are many: nearly all of
// the time is the kernel's, writing text.
#pragma once

#include <future>
#include <string>
#include <vector>

#include "core/base/ids.h"
#include "core/procfs/status.h"

namespace mcr::engine {

struct ThreadFiles {
  HostTid tid;
  procfs::Status status;
  uint64_t timer_slack_ns = 0;
  std::string foreign_namespace;  // "uts:[4026532567]": one that the process is not in
};

// In the order of `tids`, without the timer slack; threads that have ended meanwhile are left out. Throws what the
// reading threw.
std::vector<ThreadFiles> read_thread_status(HostPid pid, const std::vector<HostTid>& tids);
// All of it in the background; few threads are read at get().
std::future<std::vector<ThreadFiles>> begin_thread_files(HostPid pid, std::vector<HostTid> tids);

}  // namespace mcr::engine
