// The system calls that make a POSIX timer anew, at the place in a process' or a thread's list where they belong.
#pragma once

#include "core/facets/facet.h"

namespace mcr::facets {

using Facets = google::protobuf::RepeatedPtrField<google::protobuf::Any>;

// From the facets of a process and of its threads, by tid. `real`: the time since the dump has passed for timers of
// wall clocks. Throws Error (Fault::image) on timers that cannot be.
TimerSignals timer_signals_of(const Facets& process, const std::map<pid_t, const Facets*>& threads, bool real);

// The thread that must make this timer, at its start: one whose signals go to it, so that it can take one; one whose
// CPU time it measures. 0: the leader makes it when all threads are there.
pid_t maker_of(const image::PosixTimer& timer, const TimerSignals& all);

// timer_create(2). With PR_TIMER_CREATE_RESTORE_IDS on, the timer gets its old id; else the next one.
void create_timer(const image::PosixTimer& timer, const TimerSignals& all, inject::CallList& calls,
                  inject::Batch& buffers);
// Arms it if it was armed. A timer whose signal was pending expires at once, `calls` go on when its signal is queued.
// One that had overruns in the signal taken last has them again: the signal that tells of them is taken by the caller.
void arm_timer(const image::PosixTimer& timer, const TimerSignals& all, inject::CallList& calls,
               inject::Batch& buffers);
// Where its signal stands in a queue; the others are armed at the end.
bool is_armed_in_place(const image::PosixTimer& timer, const TimerSignals& all);
// To be made and armed before any pending signal is queued: those that must take a signal.
bool must_take_a_signal(const image::PosixTimer& timer, const TimerSignals& all);

}  // namespace mcr::facets
