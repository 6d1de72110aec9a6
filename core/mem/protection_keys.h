// Memory protection keys (pkeys(7)) in a new process. Each mapping gets the key it had, pkey_alloc(2) goes on with the
// key that would have been next. Mappings of PROT_EXEC alone have a key that the kernel chooses by itself, once a
// process (execute_only_pkey() of arch/x86/mm/pkeys.c): the first free one at that moment.
#pragma once

#include "core/inject/new_process.h"
#include "images/proto/mm.pb.h"

namespace mcr::mem {

inline constexpr uint32_t kProtectionKeys = 16;

// The key of the execute-only mappings; 0: there is none. Such a key counts as one that was not given out.
uint32_t execute_only_key(const mcr::image::MemoryMap& map, const std::vector<mcr::image::Vma>& vmas);
bool uses_protection_keys(const mcr::image::MemoryMap& map, const std::vector<mcr::image::Vma>& vmas);

// All keys are taken, but that of the execute-only mappings, which the kernel takes at the first of them.
void take_protection_keys(inject::NewProcess& process, uint32_t execute_only);
// Those that were not given out become free again.
void release_protection_keys(inject::NewProcess& process, uint32_t given, uint32_t execute_only);

}  // namespace mcr::mem
