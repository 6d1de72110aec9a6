// restore --gdb: a debugger on a program that stands at the instruction where it was saved.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/engine/engine.h"
#include "core/sys/supervise.h"

namespace mcr::cli {

class Debugger {
 public:
  // With the user's arguments for gdb. Throws Error (refused) when there is none in PATH: before anything is restored.
  explicit Debugger(std::vector<std::string> arguments);
  // Runs it on the root process until it ends; says how. What it has not ended then goes on.
  sys::ChildChange run(const engine::Restored& restored) const;

 private:
  std::vector<std::string> arguments_;
};

// Says in the log where the program stands, and how it goes on.
void tell_standing(const engine::Restored& restored);

}  // namespace mcr::cli
