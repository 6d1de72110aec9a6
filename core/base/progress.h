// How far a command is, for whoever looks from another thread: written by the engine, read by the command line.
#pragma once

#include <atomic>
#include <cstdint>

namespace mcr {

struct Progress {
  std::atomic<const char*> phase{""};  // a literal: "saving", "receiving", "filling"
  std::atomic<uint64_t> done{0};       // bytes of this phase
  std::atomic<uint64_t> total{0};      // known so far; 0: not known
  std::atomic<uint64_t> phases{0};     // counts the phases, so that a new one is noticed

  void begin(const char* name) {
    done = 0, total = 0;
    phase = name;
    ++phases;
  }
};

}  // namespace mcr
