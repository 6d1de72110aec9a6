// The notes of an ELF core: what a debugger learns of a process besides its memory. In the order and in the layout of
// Linux on x86-64 (fs/binfmt_elf.c). One thread.
#pragma once

#include <string>

#include "core/inspect/process_memory.h"

namespace mcr::inspect {

// The thread that a debugger is to show first comes first: one to which a fault was being told, else the leader.
std::string core_notes(const SavedTree& tree, const tree::ProcessImage& process, ProcessMemory& memory);

}  // namespace mcr::inspect
