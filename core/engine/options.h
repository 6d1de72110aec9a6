// What dump and restore are asked to do. Filled by the command line; plain values.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/arch/cpu_features.h"
#include "core/base/ids.h"
#include "core/tree/cgroups.h"

namespace mcr::engine {

enum class FileValidation { filesize, buildid, none };  // --file-validation; buildid implies filesize

enum class Timers { remaining, real };  // --timers: what the time between dump and restore is to a timer

// Called at named moments ("pre-dump", "post-dump", "pre-restore", "post-restore", "pre-resume",
// "post-resume") with the pid of the root process (0 when there is none yet). Throws Error to abort the operation.
using Hook = std::function<void(std::string_view action, HostPid root)>;

struct DumpOptions {
  HostPid tree;
  std::string images_dir = ".";
  bool leave_running = false;
  bool leave_stopped = false;
  bool shell_job = false;
  bool sync = true;                           // fsync before the commit; --no-sync clears it
  std::chrono::milliseconds timeout{10'000};  // of the freeze; 0: none
  FileValidation validation = FileValidation::buildid;
  uint64_t ghost_limit = UINT64_MAX;  // bytes of one deleted file
  bool link_remap = false;            // make temporary links for files whose name is gone
  bool manage_cgroups = false;
  bool file_locks = false;         // keep locks and leases
  std::set<std::string> external;  // open files that stay outside, as kinds::canonical_resource() calls them
  bool tcp_established = false;    // save TCP connections
  bool tcp_close = false;          // they are closed by the restore
  bool lock_network = true;        // --network-lock: the packets of connections with others, while the program is down
  bool skip_in_flight = false;     // connections that are being opened, or wait to be accepted, may be lost
  // Unix sockets whose other end may be outside of the tree, by their inodes; none listed: all. nullopt: none.
  std::optional<std::set<uint64_t>> outside_unix_peers;
  Hook hook;
};

struct RestoreOptions {
  std::string images_dir = ".";
  bool sibling = false;   // child of our parent instead of our own
  bool detached = false;  // we end before the program does
  bool leave_stopped = false;
  bool shell_job = false;
  FileValidation validation = FileValidation::buildid;
  arch::CpuDemand cpu;
  Timers timers = Timers::remaining;
  tree::CgroupPolicy cgroups;
  std::multimap<std::string, int> inherited;  // our descriptors for them, or for files by their absolute path
  bool count_timers = false;   // give timers their ids by counting, even where the kernel can be asked for them
  bool tcp_close = false;      // TCP connections of the image are closed
  bool lock_network = true;    // --network-lock: what the dump has put in the way of packets is removed
  bool redirect_vdso = false;  // take the path for a changed vdso even where it did not change
  std::chrono::milliseconds timeout{0};
  Hook hook;
};

}  // namespace mcr::engine
