// Processes of a frozen tree that do not run on even when we are killed, as long as this lives and what was forked
// meanwhile does (sys::run_apart): when a tracer ends its tracees run at once, so each thread has a SIGSTOP waiting,
// which it meets before it executes an instruction of its own. One that is sent to the process waits in another queue.
// Taken away again, nobody has seen it. Of a killed engine sys::Waker continues the tree.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "core/sys/waker.h"
#include "core/trace/frozen_tree.h"

namespace mcr::trace {

class HeldTree {
 public:
  // Those of the processes that `views` names (FrozenProcess::view()). They have just been frozen: nothing of them has
  // run for us. Who is stopped by job control stays as it is; so does one with a SIGCONT waiting, which a SIGSTOP would
  // take away (kernel/signal.c, prepare_signal): it is not held. The processes outlive this.
  HeldTree(const std::vector<std::unique_ptr<FrozenProcess>>& processes, const std::set<HostPid>& views,
           Damage& damage);
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
