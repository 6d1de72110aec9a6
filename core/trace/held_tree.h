// A frozen tree that does not run on even when we are killed, as long as this lives and what was forked meanwhile does
// (sys::run_apart): when a tracer ends its tracees run at once, so each thread has a SIGSTOP waiting, which it meets
// before it executes an instruction of its own. One that is sent to the process waits in another queue. Taken away
// again, nobody has seen it. Of a killed engine sys::Waker continues the tree.
#pragma once

#include <optional>
#include <vector>

#include "core/sys/waker.h"
#include "core/trace/frozen_tree.h"

namespace mcr::trace {

class HeldTree {
 public:
  // The tree has just been frozen: nothing of it has run for us. Processes that job control has stopped stay as they
  // are. `tree` outlives this.
  HeldTree(FrozenTree& tree, Damage& damage);
  ~HeldTree();  // release(), an error being damage; then SIGCONT takes the signals away
  HeldTree(const HeldTree&) = delete;
  HeldTree& operator=(const HeldTree&) = delete;

  // Throws Error when a process was killed, or continued by somebody else, meanwhile. A signal that has come and is not
  // blocked may be delivered, as if it had come before the freeze.
  void release();

 private:
  struct Held {
    HostPid pid;
    Tracee* thread;
  };
  std::vector<Held> held_;
  std::optional<sys::Waker> waker_;
  Damage& damage_;
  bool is_whole_ = true;  // none is left with a signal of ours
};

}  // namespace mcr::trace
