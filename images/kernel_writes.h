// Places of a program's memory where the kernel writes by itself while nothing of the program runs. Pure.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "images/proto/core.pb.h"

namespace mcr::images {

struct KernelWrite {
  enum class What { anything, zero, time_left };
  uint64_t start, bytes;
  What what;
  uint64_t unit_ns = 1;  // of the second word of a time: timespec 1, timeval 1000
  const char* reason;
};

// What the threads have asked the kernel to write for them.
std::vector<KernelWrite> kernel_writes(const image::ThreadCore& thread);

// The reason, when every byte of the piece of memory that differs is one that the kernel wrote, with a value that it
// may have; null otherwise. elapsed_ns: how much a time that is left may have gone down.
const char* explains(const std::vector<KernelWrite>& writes, uint64_t at, std::string_view a, std::string_view b,
                     uint64_t elapsed_ns);

uint64_t register_of(const image::ThreadCore& thread, std::string_view name);  // "rsp"; 0 when there is none

// Is `after` what is left of a time after at most elapsed_ns? For a timer that goes round every `interval`: any part of
// that. All in nanoseconds.
bool is_time_left(uint64_t before, uint64_t after, uint64_t interval, uint64_t elapsed_ns);

}  // namespace mcr::images
