// Private to core/sys.
#pragma once

#include "core/sys/process.h"

namespace mcr::sys {

// clone3(2) as CloneRequest says, without `orphan`: a pid, or -errno. To be called with all signals blocked.
long clone_raw(const CloneRequest& request);

}  // namespace mcr::sys
