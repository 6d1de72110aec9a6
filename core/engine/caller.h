// Who runs mini-criu, and what that allows: asked once, before the engine changes anything about itself.
#pragma once

#include "core/base/ids.h"
#include "core/procfs/status.h"

namespace mcr::engine {

struct Caller {
  procfs::Status status;  // of this process; without capabilities that the program file gave
  uint32_t securebits = 0;
  bool has_checkpoint_right = false;  // CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN, wherever it comes from

  bool may(int capability) const { return status.cap_effective >> capability & 1; }
  uint64_t capabilities() const { return status.cap_permitted; }
};

Caller identify_caller();

// Throws Error (refused) naming the reason and the single right that would help, when the caller may not trace the
// process (ptrace(2), "access mode checking").
void refuse_untraceable(HostPid pid, const Caller& caller);

}  // namespace mcr::engine
