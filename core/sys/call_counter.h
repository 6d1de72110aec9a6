// Counts the system calls of a process that can change its mappings, by the kernel's tracepoint of all calls and
// perf_event_open(2). The program is not stopped and not slowed to speak of. Takes CAP_PERFMON, and a mounted
// tracefs or CAP_SYS_ADMIN.
#pragma once

#include <optional>
#include <vector>

#include "core/base/ids.h"
#include "core/base/unique_fd.h"

namespace mcr::sys {

class MappingCallCounter {
 public:
  // Of all its threads, and of those that they make from here on. nullopt: they cannot be counted, or are very many.
  static std::optional<MappingCallCounter> begin(HostPid pid);
  // Whether none of them has ended such a call since. False too when it cannot be said. Any thread.
  bool has_counted_none() const;

 private:
  std::vector<UniqueFd> events_;
};

}  // namespace mcr::sys
