// One round: a case with an engine, from the start of the program to the proof that it is right.
#pragma once

#include "bench/suite/case.h"
#include "bench/suite/engine.h"

namespace bench {

// By figure: "dump_ms", "pause_ms", "restore_ms", "answer_ms", "image_bytes", "dump_cpu_ms", "restore_cpu_ms",
// "peak_bytes", "start_ms", "work_ms", "quiet_ms" (the largest gap while no engine ran); and the engine's own times
// ("engine.freeze").
using Sample = std::map<std::string, double>;

struct Measure {
  std::string memory;  // parent of the folders of rounds, on a file system in memory
  std::string disk;    // the same on a disk; "": none
  std::chrono::seconds limit{60};
};

// Throws Failure. Whatever it started has ended afterwards, and its files are gone.
Sample measure(const Case& one, Engine& engine, const Measure& how);

}  // namespace bench
