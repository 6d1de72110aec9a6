// How large an image becomes and how long a dump takes, from what a program has and what each of that has cost. Pure.
#pragma once

#include <cstdint>

namespace mcr::engine {

struct Amounts {
  uint64_t processes = 0, threads = 0, mappings = 0, descriptors = 0;
  uint64_t private_bytes = 0;  // memory with content of its own, each page that relatives share once
  uint64_t shared_bytes = 0;   // anonymous shared memory and System V segments
  uint64_t file_bytes = 0;     // contents of deleted files and memfds
  uint64_t look_us = 0;        // what the look has taken just now

  uint64_t stored_bytes() const { return private_bytes + shared_bytes + file_bytes; }
};

struct Forecast {
  uint64_t image_bytes = 0;  // at most: equal pages are stored once, zeros not at all
  uint64_t pause_us = 0;     // with --leave-running
  uint64_t live_us = 0;      // with --live
  uint64_t total_us = 0;     // of a dump without --no-sync, on a disk as the one below
};

Forecast forecast(const Amounts& amounts);

}  // namespace mcr::engine
