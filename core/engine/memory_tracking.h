// Dumps that build upon each other (`--track-mem`, `--prev-images-dir`): what the image before has, who watches what
// has been written since, and who does from here on. The descriptors of the watching are kept by a process that
// outlives us (sys::WatchKeeper); its token is in the image that it belongs to, and it is ended before anything is
// protected anew: so a dump that fails or is killed can only leave the next one with everything to store.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/engine/options.h"
#include "core/inject/session.h"
#include "core/mem/write_tracking.h"
#include "core/sys/watch_keeper.h"
#include "core/trace/frozen_tree.h"
#include "images/parent_chain.h"
#include "images/proto/inventory.pb.h"

namespace mcr::engine {

class MemoryTracking {
 public:
  // Before the freeze. Throws when the image before is not there as a whole.
  explicit MemoryTracking(const DumpOptions& options);

  // Frozen. A ring of io_uring(7) writes to pages that it holds without a fault: to registered buffers at any time, to
  // others while a request is in flight. Where it cannot be said which these are, nothing is tracked from here on.
  void look_for_rings(const std::vector<HostPid>& views);

  struct Memory {                           // of one process
    int watch = -1;                         // what watches it; -1: nothing
    std::vector<sys::PageRange> watched{};  // mappings
    std::vector<sys::PageRange> known{};    // what the image before has, if that is what it is watched since
  };
  // Takes the marks of our watching out of the mappings. `number`: the pid that the process has itself.
  Memory look_at(const trace::FrozenProcess& process, int32_t number, std::vector<procfs::Mapping>& mappings);
  // From here on it is watched what is written; where that cannot be had it is said why. contents: all stretches with
  // content; pinned: those to which a ring may write, in address order. Nothing, without --track-mem.
  void watch(const trace::FrozenProcess& process, int32_t number, Memory memory, inject::ParasiteSession& parasite,
             const sys::Pagemap& pagemap, const std::vector<mcr::image::Vma>& vmas,
             std::vector<sys::PageRange> contents, const std::vector<sys::PageRange>& pinned);

  void note_parent() { has_parent_ = true; }  // some page is in the image before
  // What the inventory has to say, before it is written.
  void describe(mcr::image::Inventory& inventory) const;
  // The image is there: the watching belongs to it.
  void settle();

 private:
  struct Watched {
    HostPid pid;
    uint64_t start_time;
    UniqueFd watch;
    bool since_parent;  // by the keeper that the image before names
  };
  void open_parent();
  void find_keepers();
  const Watched* find(HostPid pid) const;
  void end_old_keepers();
  void tell_why_whole(int32_t number, HostPid pid) const;

  const DumpOptions& options_;
  std::unique_ptr<images::ParentChain> parent_;
  std::map<int32_t, std::vector<sys::PageRange>> known_;  // what it has, by process
  std::vector<sys::WatchKeeper> keepers_;                 // those that know anything of ours
  std::vector<Watched> watched_;
  std::optional<sys::NewWatchKeeper> keeper_;
  std::vector<mcr::image::TrackedProcess> tracked_;
  bool has_parent_ = false, has_unknown_writers_ = false;
};

// Of mappings with their flags: takes away what says that a keeper of ours watches them, which is in nobody's way.
void set_aside_tracking(HostPid pid, std::vector<procfs::Mapping>& mappings);

}  // namespace mcr::engine
