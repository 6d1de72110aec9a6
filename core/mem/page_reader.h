// Fills the pages of a new process from an image. What lies in the pages file the process reads itself, straight into
// place, while we check the checksums of the same bytes; at the same time threads of the engine put the rest there, and
// take some of the former from its end. Throws Fault::image with file and offset at the first wrong chunk.
#pragma once

#include "core/mem/address_space.h"

namespace mcr::mem {

// The private memory (shared = 0, base = 0), or one shared object that is mapped at `base`. Returns the number of
// pages. memory.content must be set.
uint64_t fill(inject::NewProcess& process, const RestoreMemory& memory, uint32_t shared, uint64_t base);

}  // namespace mcr::mem
