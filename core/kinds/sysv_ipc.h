// System V semaphores and message queues. They belong to an IPC namespace, outlive every process, and the kernel does
// not tell who uses them. Saved are those of which it can be seen that the tree does: a thread of it waits there, or
// one of its processes was the last to use a semaphore, to send or to receive. At a restore one that still exists is
// taken over, and is given the values or the messages of the image, unless somebody else has used it meanwhile. Those
// that others used besides the tree at the dump are left as they are.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <vector>

#include "core/base/error.h"
#include "core/inject/channel.h"
#include "images/proto/ipc.pb.h"
#include "images/store.h"

namespace mcr::kinds {

struct IpcUse {  // by a tree that stands still
  std::set<int> pids;
  std::set<int> awaited_semaphores, awaited_queues;  // ids in system calls of its threads

  void note_call(int64_t number, uint64_t first_argument);
};

// Writes ipc.img when there is anything. Throws Error (refused) naming a queue whose messages cannot be read.
void dump_ipc(const IpcUse& use, images::ImageWriter& writer);

// The kernel has one number a type for "the next one gets this id": whoever makes one then gets it, be it another
// restore. `make` is tried until it returns true, with growing pauses, for about half a second. false: never.
bool made_with_its_id(const std::function<bool()>& make);

// What it takes to make objects of other users, and to fill those that nobody may use meanwhile.
void require_ipc_rights(const char* what, bool of_others, std::vector<Problem>& problems);

class IpcObjects {  // restore
 public:
  explicit IpcObjects(const images::ImageReader& reader);  // throws Fault::image
  ~IpcObjects();  // removes those that were made here, unless keep() was called
  IpcObjects(const IpcObjects&) = delete;
  IpcObjects& operator=(const IpcObjects&) = delete;

  // pids: of the image, whose own use is none of a stranger.
  void check(const std::set<int>& pids, std::vector<Problem>& problems) const;
  // Makes or takes over and fills. A process of the tree that was the last user of something becomes so again:
  // `channel_of` gives its line, or null when there is none.
  void restore(const std::function<inject::Channel*(int)>& channel_of);
  void finish();
  void keep() { kept_ = true; }  // the program runs

 private:
  template <typename Record>
  void take(const Record& wanted, const std::function<inject::Channel*(int)>& channel_of);
  void fill(const image::SysvSemaphores& wanted, const std::function<inject::Channel*(int)>& channel_of);
  void fill(const image::SysvQueue& wanted, const std::function<inject::Channel*(int)>& channel_of);

  std::vector<image::SysvSemaphores> sets_;
  std::vector<image::SysvQueue> queues_;
  std::vector<std::function<void()>> to_undo_, to_finish_;
  bool kept_ = false;
};

}  // namespace mcr::kinds
