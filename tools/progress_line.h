// One line on a terminal that says how far a command is: bytes, rate, time left. From its second second on, rewritten
// five times a second at most, erased at the end.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <thread>

#include "core/base/progress.h"

namespace mcr::cli {

class ProgressLine {
 public:
  // `wanted` and standard error is a terminal; otherwise nothing is ever printed. `progress` outlives the object.
  ProgressLine(const Progress& progress, bool wanted);
  ~ProgressLine() { stop(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  void stop();

 private:
  void tick();

  const Progress& progress_;
  std::atomic<bool> ends_{false};
  std::thread thread_;
};

// "saving 1.2 of 3.4 GiB, 512.0 MiB/s, 4 s left"; what is not known is left out. Returns the number of characters.
// Allocates nothing: a process that is being cloned must not grow new memory meanwhile.
size_t write_progress(char* to, size_t size, std::string_view phase, uint64_t done, uint64_t total, double seconds);

}  // namespace mcr::cli
