// System V segments as mappings (shmat(2)).
#pragma once

#include "core/mem/address_space.h"

namespace mcr::mem {

bool is_sysv_segment(const procfs::Mapping& mapping);  // its inode is the shmid
// Attaches them, wherever the program had them; the first process that has one fills it.
void attach_segments(inject::NewProcess& process, const RestoreMemory& memory);

}  // namespace mcr::mem
