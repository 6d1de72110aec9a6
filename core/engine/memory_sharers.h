// Memory of a program that processes outside of the dump have too.
#pragma once

#include <vector>

#include "core/base/ids.h"
#include "core/procfs/maps.h"

namespace mcr::engine {

// Refuses anonymous shared memory and memfds that another process has mapped or open. It has no name by which it could
// be found again: after a restore the two would have memory of their own each.
void refuse_shared_with_others(HostPid pid, const std::vector<procfs::Mapping>& mappings);

}  // namespace mcr::engine
