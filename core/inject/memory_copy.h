// A copy-on-write copy of a program's memory, in a process of its own that never runs an instruction.
//
// The parasite makes a process that shares the program's memory, and that makes the copy, and ends: so the copy is no
// child of the program, which sees neither a process nor a signal nor a zombie of it. It has no descriptors and is in a
// session of its own: nothing that is sent to the program's process group reaches it. It stands where it was born until
// it is ended; should we die it ends by itself. Its parent is the nearest subreaper, or process 1, which collects it.
//
// What fork(2) does not copy is not in it: MADV_DONTFORK, MADV_WIPEONFORK; and what it shares goes on to change.
#pragma once

#include <memory>
#include <string>

#include "core/inject/session.h"

namespace mcr::inject {

class MemoryCopy {
 public:
  // Of the memory of the session's process, all of whose threads stand still. `host`: the thread that hosts the
  // session. nullptr where the kernel makes no process (limits, overcommitted memory), which `why` tells.
  static std::unique_ptr<MemoryCopy> make(ParasiteSession& session, trace::Tracee& host, std::string& why);
  ~MemoryCopy();  // ends it
  MemoryCopy(const MemoryCopy&) = delete;
  MemoryCopy& operator=(const MemoryCopy&) = delete;

  HostPid pid() const { return pid_; }
  // False when it was ended from outside, or is about to be: what was read since is worth nothing.
  bool is_whole() const;

 private:
  explicit MemoryCopy(HostPid pid) : pid_(pid) {}
  HostPid pid_;
  mutable bool has_ended_ = false;  // and was collected: its number may be somebody else's
};

}  // namespace mcr::inject
