// What only the program itself can ask about its memory: memory policies, protection keys, and what becomes of mappings
// that are still to come. Asked through the parasite; changes nothing.
#pragma once

#include "core/inject/session.h"
#include "core/mem/address_space.h"

namespace mcr::mem {

// mbind(2) of each mapping, where there is NUMA.
void ask_policies(inject::Channel& channel, std::vector<mcr::image::Vma>& vmas);
// Which keys pkey_alloc(2) has given out, and whether new mappings are mergeable (PR_SET_MEMORY_MERGE, 6.4).
void ask_defaults(inject::Channel& channel, mcr::image::MemoryMap& map);
// MCL_FUTURE and MCL_ONFAULT, seen in what the kernel has made of the parasite's own mapping. `locked_kb`: VmLck
// before.
void find_future_locks(const inject::ParasiteSession& parasite, uint64_t locked_kb, mcr::image::MemoryMap& map);

}  // namespace mcr::mem
