// Whose an event of userfaultfd(2) is: its thread waits in the system call that has led to it. Any thread.
#pragma once

#include "core/sys/thread_calls.h"
#include "core/sys/user_fault.h"

namespace mcr::mem {

// Who waits until this event is read: the only thread, or the only one that is in such a call; thread 0: not known.
sys::ThreadCall call_behind(const sys::FaultEvent& event, const std::vector<sys::ThreadCall>& calls);
// By how many pages what was moved was made longer.
uint32_t pages_more(const sys::FaultEvent& event, const sys::ThreadCall& call);

}  // namespace mcr::mem
