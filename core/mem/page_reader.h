// Fills the private pages of a new process from a pages file: the process reads them itself, straight into place, while
// we check the checksums of the same bytes. Throws Fault::image with file and offset at the first wrong chunk.
#pragma once

#include "core/mem/address_space.h"

namespace mcr::mem {

// Returns the number of pages filled.
uint64_t fill_pages(inject::NewProcess& process, const RestoreMemory& memory);

}  // namespace mcr::mem
