// PTRACE_SEIZE of a thread that is in execve(2) waits for the end of that call (for cred_guard_mutex), and the call for
// the ends of all other threads of its process to be collected: by us, when we are their tracer already (ptrace(2),
// "BUGS"). So while we wait, a timer interrupts us now and then, and what has ended is collected; the kernel begins the
// request anew by itself.
#pragma once

#include <signal.h>
#include <time.h>

#include <atomic>
#include <span>

#include "core/base/ids.h"

namespace mcr::sys {

// Takes SIGALRM of the calling thread for the life of the object.
class SeizeWatch {
 public:
  SeizeWatch();
  ~SeizeWatch();
  SeizeWatch(const SeizeWatch&) = delete;
  SeizeWatch& operator=(const SeizeWatch&) = delete;

  // While it lives, in the thread that has made the watch: a PTRACE_SEIZE. `traced`: other threads of that process that
  // are our tracees; those of them that have ended may be collected, for poll_stop() they have ended then.
  class Scope {
   public:
    Scope(SeizeWatch& watch, std::span<const HostTid> traced);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    SeizeWatch& watch_;
  };

 private:
  static void collect_ended(int signal, siginfo_t* info, void* context);

  std::span<const HostTid> traced_;
  std::atomic<bool> seizing_ = false, is_late_ = false;  // late: the timer has met the same request before
  bool has_timer_ = false;
  timer_t timer_{};
  struct sigaction old_action_ {};
  sigset_t old_mask_{};
};

// Whether a tracee, or another child, has an event that nobody has collected (waitid(2), WNOWAIT).
bool any_event_waits();

}  // namespace mcr::sys
