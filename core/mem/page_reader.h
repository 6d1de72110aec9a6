// Fills the private pages of a new process from a pages file: the process reads them itself, straight into place, while
// we check the checksums of the same bytes. Throws Fault::image with file and offset at the first wrong chunk.
#pragma once

#include <span>

#include "core/mem/address_space.h"

namespace mcr::mem {

// The private memory (shared = 0, base = 0), or one shared object that is mapped at `base`. Returns the number of
// pages.
uint64_t fill(inject::NewProcess& process, const RestoreMemory& memory, uint32_t shared, uint64_t base);

// The same bytes of a run, checked, out of its file; `start` and `bytes`: a part of the run, by address.
std::span<const std::byte> checked_bytes(const mcr::image::PageRun& run, uint64_t start, uint64_t bytes,
                                         std::span<const std::byte> file, const std::string& name);

}  // namespace mcr::mem
