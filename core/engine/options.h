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
#include "core/base/progress.h"
#include "core/mem/page_streams.h"
#include "core/tree/cgroups.h"
#include "gpu/device.h"
#include "images/store.h"

namespace mcr::engine {

enum class FileValidation { filesize, buildid, none };  // --file-validation; buildid implies filesize

enum class Timers { remaining, real };  // --timers: what the time between dump and restore is to a timer

// Called at named moments ("pre-dump", "post-dump", "pre-restore", "post-restore", "pre-resume",
// "post-resume") with the pid of the root process (0 when there is none yet). Throws Error to abort the operation.
using Hook = std::function<void(std::string_view action, HostPid root)>;
// Called once all of the program but the memory that --live copies is collected, while it still stands still: what is
// written by it is as the image has it. `pids`: its living processes. Throws Error to abort the dump.
using FrozenHook = std::function<void(const std::vector<HostPid>& pids)>;

struct DumpOptions {
  HostPid tree;
  std::string images_dir = ".";
  images::ByteSink* stream = nullptr;  // the image goes there, and to no folder; outlives the dump
  Progress* progress = nullptr;        // outlives the dump
  bool leave_running = false;
  bool leave_stopped = false;
  bool live = false;  // with leave_running: it goes on before its memory is stored
  bool shell_job = false;
  bool sync = true;                           // fsync before the commit; --no-sync clears it
  std::chrono::milliseconds timeout{10'000};  // of the freeze; 0: none
  FileValidation validation = FileValidation::buildid;
  uint64_t ghost_limit = UINT64_MAX;  // bytes of one deleted file
  bool link_remap = false;            // make temporary links for files whose name is gone
  bool manage_cgroups = false;
  bool file_locks = false;         // keep locks and leases
  bool track_memory = false;       // note what is written from here on, for the next dump
  std::string previous_images;     // the folder of the image to build upon; empty: none
  bool memory_only = false;        // nothing but memory is stored, ahead of a dump
  std::set<std::string> external;  // open files that stay outside, as kinds::canonical_resource() calls them
  bool tcp_established = false;    // save TCP connections
  bool tcp_close = false;          // they are closed by the restore
  bool lock_network = true;        // --network-lock: the packets of connections with others, while the program is down
  bool skip_in_flight = false;     // connections that are being opened, or wait to be accepted, may be lost
  // Unix sockets whose other end may be outside of the tree, by their inodes; none listed: all. nullopt: none.
  std::optional<std::set<uint64_t>> outside_unix_peers;
  unsigned streams = 0;  // --stream: files that memory is spread over; 0: a raw file for each process
  mem::Compression compression = mem::Compression::lz4;  // of streams
  // Masters of pseudo-terminals that are a part of the program though the caller, or somebody else, holds them: it is
  // saved with their state. Nobody may read from them meanwhile.
  std::vector<int> outside_masters;
  Hook hook;
  FrozenHook while_frozen;
};

struct RestoreOptions {
  std::string images_dir = ".";
  std::shared_ptr<const images::ReceivedImage> received;  // the image, if it came as a stream and lies in no folder
  std::shared_ptr<images::FarImage> far;                  // the image, if a server on another host has it
  Progress* progress = nullptr;                           // outlives the restore
  bool sibling = false;                                   // child of our parent instead of our own
  bool detached = false;                                  // we end before the program does
  bool leave_stopped = false;
  bool shell_job = false;
  FileValidation validation = FileValidation::buildid;
  arch::CpuDemand cpu;
  Timers timers = Timers::remaining;
  tree::CgroupPolicy cgroups;
  std::multimap<std::string, int> inherited;  // our descriptors for them, or for files by their absolute path
  bool takes_masters = false;  // of pseudo-terminals that were saved as outside_masters: they come in Restored::masters
  bool count_timers = false;   // give timers their ids by counting, even where the kernel can be asked for them
  bool tcp_close = false;      // TCP connections of the image are closed
  bool lock_network = true;    // --network-lock: what the dump has put in the way of packets is removed
  gpu::GpuMap gpu_map;         // --gpu-map: GPUs of the image: those of this host
  bool redirect_vdso = false;  // take the path for a changed vdso even where it did not change
  bool lazy = false;           // --lazy-pages: memory comes when it is touched
  bool new_pids = false;       // in a pid namespace of its own, whatever pids are free here
  unsigned threads = 0;        // --stream: that read pages at once; 0: as many as there is work for
  std::chrono::milliseconds timeout{0};
  Hook hook;
  std::function<void()> when_checked;  // nothing stands in the way, and nothing was created yet; throws to leave it so
};

}  // namespace mcr::engine
