// The extended state of a thread (x87, SSE, AVX, AVX-512, PKRU, AMX) as one block, through PTRACE_GETREGSET with
// NT_X86_XSTATE, and what the CPU must have to take it back.
#pragma once

#include <string>

#include "core/base/ids.h"

namespace mcr::arch {

void save_xstate(HostTid tid, std::string& out);
void load_xstate(HostTid tid, const std::string& state);  // throws when this CPU cannot hold it

// XCR0 of the CPU that a saved block came from, as the kernel writes it into the block's reserved bytes.
uint64_t xcr0_of(const std::string& state);
// Component bits that are in use in the block (XSTATE_BV).
uint64_t used_components(const std::string& state);
std::string component_names(uint64_t bits);  // "AVX, AVX-512 opmask"

}  // namespace mcr::arch
