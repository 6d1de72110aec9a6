// The frames of one stack, by libunwind over memory that is not ours. A stack may be broken, and tables may be hostile:
// frames, and what is read for each of them, are bounded. One thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/stacks/modules.h"
#include "core/sys/ptrace.h"

namespace mcr::stacks {

inline constexpr size_t kMostFrames = 512;

struct WalkedFrame {
  uint64_t pc = 0, sp = 0;
  uint64_t lookup = 0;      // where the name is looked up: of a caller, inside of its call instruction
  bool is_signal = false;   // what the kernel put there when it called a handler
  bool is_guessed = false;  // found by the frame pointer, as the code before has no unwind information
};

struct Walked {
  std::vector<WalkedFrame> frames;
  std::string ending;  // why it does not go on; empty: the stack begins here
};

class Walker {
 public:
  // Both outlive this. Throws Error when libunwind cannot be loaded.
  Walker(Modules& modules, Memory& memory);
  ~Walker();
  Walked walk(const sys::Registers& registers);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mcr::stacks
