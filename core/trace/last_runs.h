// When the threads of a program were last running, from /proc/PID/task/TID/sched (CONFIG_SCHED_DEBUG), which everybody
// may read: the fallback of one who may not read /proc/timer_list. A thread that sleeps went to sleep then.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "core/base/ids.h"

namespace mcr::trace {

class LastRuns {
 public:
  // Before the freeze: to stop a thread is to let it run for a moment.
  void note(HostPid pid);
  // CLOCK_MONOTONIC, ns, of the moment from which the thread slept until it was stopped. nullopt when it ran in
  // between, was not noted, or the kernel does not tell. The thread must stand still since.
  std::optional<uint64_t> slept_since(HostPid pid, HostTid tid) const;
  // The kernel's function that it slept in meanwhile (/proc/PID/task/TID/wchan); empty when it ran in between.
  std::string slept_in(HostPid pid, HostTid tid) const;

 private:
  struct Run {
    uint64_t exec_start_ns, switches;
    int64_t offset_ns;  // from its processor's clock of the scheduler to CLOCK_MONOTONIC
    std::string function;
  };
  const Run* unbroken(HostPid pid, HostTid tid) const;
  std::map<HostTid, Run> runs_;
};

}  // namespace mcr::trace
