// Which memory an ELF core stores, and in how many segments. One thread.
#pragma once

#include <vector>

#include "core/inspect/process_memory.h"

namespace mcr::inspect {

struct CoreSegment {
  uint64_t start = 0, end = 0;  // addresses, whole pages
  uint32_t prot = 0;            // PROT_*
  bool is_stored = false;       // else the core only says that it is mapped
};

// In address order, without what nobody has.
std::vector<CoreSegment> core_segments(ProcessMemory& memory, bool with_files);

}  // namespace mcr::inspect
