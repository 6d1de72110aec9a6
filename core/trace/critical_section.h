// A thread stopped inside a restartable sequence (rseq(2)) must not be found elsewhere by the kernel: it would forget
// the sequence. Moved to its abort handler, as the kernel does itself with a thread that lost its CPU there.
#pragma once

#include "core/trace/tracee.h"

namespace mcr::trace {

// Returns what the kernel knows of the thread's rseq area.
sys::RseqConfiguration leave_critical_section(Tracee& thread, HostPid pid);

}  // namespace mcr::trace
