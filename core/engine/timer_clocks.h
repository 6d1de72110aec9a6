// Which thread's CPU time a POSIX timer measures. One made with CLOCK_THREAD_CPUTIME_ID measures the thread that made
// it, and the kernel does not say which that was: the value of such a timer moves when that thread has run.
#pragma once

#include "core/engine/thread_files.h"
#include "core/inject/session.h"
#include "core/tree/process_image.h"

namespace mcr::engine {

// Refuses CPU clocks of others, seen in /proc/PID/timers while the program runs. `view`: a thread that lives.
void refuse_foreign_clocks(HostPid pid, HostPid view);

// Notes the thread with each such timer in `image`, whose threads and pending signals are there already, unless it is
// the leader. `host`: index of the parasite's thread. Throws Error (Fault::refused) where nobody was found.
void name_timer_clocks(inject::ParasiteSession& parasite, trace::FrozenProcess& process,
                       const std::vector<ThreadFiles>& threads, size_t host, tree::ProcessImage& image);

}  // namespace mcr::engine
