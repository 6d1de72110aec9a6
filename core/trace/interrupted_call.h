// What a stop does to a system call in progress, and how the call goes on.
//
// Most interrupted calls come back with a code that makes the kernel restart them (signal(7)). Two groups need help:
// those that end with EINTR for any stop, and those that the kernel continues through a restart block of the thread,
// which an image cannot hold: nanosleep, poll, futex with a time-out.
#pragma once

#include <optional>

#include "core/trace/last_runs.h"
#include "core/trace/tracee.h"

namespace mcr::trace {

// A call without a time-out that a stop alone has ended with EINTR (epoll_wait, sigtimedwait, semop, io_getevents) is
// made again, unless a signal waits for the thread. One with a time-out keeps its EINTR, as after SIGSTOP and SIGCONT:
// made again it would wait for the whole time once more, and under periodic dumps for ever.
inline constexpr int64_t kInterrupted = -4;  // EINTR in the result register
void settle_ended_call(Tracee& thread, uint64_t deliverable_signals);

struct SleepingCall {
  int64_t number = 0;         // what it was before any restart; 0: not found out
  uint64_t remaining_ns = 0;  // of its time-out
  bool exact = false;         // false: remaining_ns is the whole time-out
};
// For a thread whose frame says that it is to be continued through its restart block; nullopt for others, and when the
// call ended meanwhile (the frame is then the new one). The kernel tells the remaining time of a sleep to one who asked
// for it only; for others the thread is let back into its sleep for a moment and its timer looked up in
// /proc/timer_list (root only). Who may not read that knows from `runs` since when the thread had slept until it was
// stopped at `stopped_ns` (CLOCK_MONOTONIC). All other threads must be stopped.
std::optional<SleepingCall> examine_sleeping_call(Tracee& thread, HostPid pid, const LastRuns& runs,
                                                  uint64_t stopped_ns);

}  // namespace mcr::trace
