// Brings every thread to a point from where it can go on elsewhere. That changes frames and, where a signal has its
// handler begun, stacks, so no memory is read before it is done with all processes: several may have one. It comes
// after the reading of sockets, which may begin handlers too (trace::HeldTree).
#pragma once

#include <optional>
#include <vector>

#include "core/trace/frozen_tree.h"
#include "core/trace/interrupted_call.h"
#include "core/trace/last_runs.h"
#include "core/trace/seccomp_filter.h"

namespace mcr::engine {

struct SettledProcess {
  std::vector<trace::SeccompChain> filters;                  // by thread; out of force as long as we trace it
  std::vector<sys::RseqConfiguration> rseq;                  // by thread
  std::vector<std::optional<trace::SleepingCall>> sleeping;  // by thread
  size_t host_index = 0;                                     // of the thread that may host the parasite
};

// `stopped_ns`: of the freeze, CLOCK_MONOTONIC. No instruction of the program is run. A zombie has nothing to settle.
// Throws Fault::refused for a thread that cannot be saved or asked.
SettledProcess settle_threads(trace::FrozenProcess& process, const trace::LastRuns& runs, uint64_t stopped_ns);

}  // namespace mcr::engine
