// Anonymous shared memory read through the mappings of the program: for an engine that may not open it under
// /proc/PID/map_files (CAP_CHECKPOINT_RESTORE).
#pragma once

#include "core/mem/address_space.h"
#include "core/mem/page_writer.h"

namespace mcr::mem {

// Stores the object's pages; `message` gets its size. Throws Error (refused) naming the right when the program has not
// mapped all of it, as the rest could not be read.
std::vector<mcr::image::PageRun> store_by_mappings(const SharedObject& object, const std::vector<mcr::image::Vma>& vmas,
                                                   inject::Channel& channel, const trace::RemoteMemory& memory,
                                                   PageWriter& writer, mcr::image::SharedMemory& message);

}  // namespace mcr::mem
