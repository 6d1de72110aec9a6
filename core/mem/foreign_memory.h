// Mappings whose content belongs to something else than the program: rings of kernel interfaces, devices.
#pragma once

#include "core/procfs/maps.h"

namespace mcr::mem {

// Throws Fault::refused with the name of the interface and what to do. All of it shows in /proc/PID/maps.
void refuse_foreign_memory(const procfs::Mapping& mapping);

}  // namespace mcr::mem
