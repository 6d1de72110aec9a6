// Which thread's CPU time a POSIX timer measures. One made with CLOCK_THREAD_CPUTIME_ID measures the thread that made
// it, and the kernel does not say which that was: the value of such a timer moves when that thread has run.
#pragma once

#include "core/engine/thread_files.h"
#include "core/inject/session.h"
#include "images/proto/core.pb.h"

namespace mcr::engine {

// Refuses CPU clocks of others, seen in /proc/PID/timers while the program runs. `view`: a thread that lives.
void refuse_foreign_clocks(HostPid pid, HostPid view);

// Notes the thread with each such timer in `core`, unless it is the leader. Throws Error (Fault::refused) where nobody
// was found.
void name_timer_clocks(inject::ParasiteSession& parasite, trace::FrozenProcess& process,
                       const std::vector<ThreadFiles>& threads, image::ProcessCore& core);

}  // namespace mcr::engine
