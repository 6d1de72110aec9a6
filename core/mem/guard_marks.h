// "gu" in the VmFlags of a mapping (6.18): it, or one that it was a part of, has had guard pages at some time, and
// stays for ever. Mappings that are joined all have it when one has (VM_STICKY of linux/mm.h).
#pragma once

#include "core/mem/address_space.h"

namespace mcr::mem {

// Of private anonymous mappings that have the mark and no guard page: gives them one, and takes it away. Neighbours are
// filled as one mapping, so this comes when each has its own protection, and before any is locked or sealed. Content is
// kept. The restore thread only.
void make_guard_marks(inject::NewProcess& process, const RestoreMemory& memory);

// Whether the mapping gets its mark so.
bool needs_guard_mark(const mcr::image::Vma& vma);

}  // namespace mcr::mem
