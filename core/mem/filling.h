// How the private pages of a mapping come back: by the new process itself, into a mapping that is writable for as long
// as it takes, or from outside.
#pragma once

#include "core/mem/address_space.h"

namespace mcr::mem {

bool has_pages(const RestoreMemory& memory, const mcr::image::Vma& vma);  // stored, or inherited
bool has_inherited(const RestoreMemory& memory, const mcr::image::Vma& vma);
// Whether the mapping at this address is left as it is (RestoreMemory::ready).
bool is_ready(const RestoreMemory& memory, uint64_t address);
// Whether it comes later (RestoreMemory::late).
bool is_late(const RestoreMemory& memory, uint64_t address);
// The protection to make the mapping with. One that is accounted for ("ac") was writable once: it must be so again, or
// the kernel would not count it, and it would not be joined with those that are.
int filling_prot(const RestoreMemory& memory, const mcr::image::Vma& vma);
// True: the mapping of that run is not writable meanwhile either.
bool is_filled_from_outside(const RestoreMemory& memory, const mcr::image::PageRun& run);
// What is stored of the mapping consists of whole huge pages.
bool fills_whole_blocks(const RestoreMemory& memory, const mcr::image::Vma& vma);

// Private anonymous memory of ordinary pages that are neither locked nor wiped nor freed by themselves, and that does
// not grow: userfaultfd(2) can fill it.
bool is_plain_memory(const mcr::image::Vma& vma);

}  // namespace mcr::mem
