// A stretch of a program's memory that is to be stored.
#pragma once

#include <cstdint>
#include <span>

#include "core/trace/remote_memory.h"

namespace mcr::mem {

struct PageSource {
  uint64_t start = 0, bytes = 0;  // addresses of the program
  bool readable = true;           // for the program itself
};

// By /proc/PID/mem, also what the program itself may not read. Throws, and names the page, when one cannot be read.
void read_pages(const trace::RemoteMemory& memory, uint64_t address, std::span<std::byte> to);

}  // namespace mcr::mem
