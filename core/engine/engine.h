// The two operations. Call from the main thread. Another thread may be there that has all signals blocked and allocates
// no memory: new processes are made from what is mapped here.
#pragma once

#include <memory>

#include "core/base/damage.h"
#include "core/base/unique_fd.h"
#include "core/engine/options.h"
#include "images/proto/stats.pb.h"

namespace mcr::engine {

// Saves the tree and then kills it, or lets it go on, or leaves it stopped. Throws Error when it fails; the tree
// then runs on unharmed unless `damage` says otherwise. Returns the figures that went into stats-dump.
mcr::image::DumpStatistics dump(const DumpOptions& options, Damage& damage);

struct RestoreStatistics {
  uint64_t check_us = 0, create_us = 0, memory_us = 0, threads_us = 0, gpu_us = 0, total_us = 0;
  uint64_t pages_restored = 0;
  uint32_t processes = 0, threads = 0;
};

struct Standing {
  HostPid pid;
  UniqueFd pidfd;
};

struct Restored {
  HostPid root;
  UniqueFd pidfd;                 // of the root process
  std::vector<UniqueFd> masters;  // of pseudo-terminals whose masters are not the program's
  UniqueFd init_pidfd;            // of process 1 of its own pid namespace, a child of ours; invalid when there is none
  RestoreStatistics statistics;
  std::vector<Standing> standing;  // with leave_stopped: the others that were not stopped when they were saved
  bool root_was_stopped = false;   // when it was saved
};

// Brings the tree back, running unless asked otherwise. When it throws, nothing that it created is left.
// Unless options.sibling is set, the root process is a child of the caller, who must wait for it or end first.
Restored restore(const RestoreOptions& options, Damage& damage);

}  // namespace mcr::engine
