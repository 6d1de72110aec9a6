// What is said of a process by a child of ours. The tables that a walk follows, and the memory behind them, belong to
// the program, which may make whoever reads them stumble, or read for ever: that costs us one process's words, and
// nothing else. Only while this process has one thread.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "core/stacks/stacks.h"

namespace mcr::stacks {

struct Told {
  std::optional<std::string> text;
  std::string trouble;  // without a text: why there is none
};
// What `work` returns in the child. An Error that it throws there is thrown here.
Told told_by_child(std::chrono::milliseconds limit, const std::function<std::string()>& work);

// The same of the stacks of a process, for a command: where they cannot be had, its words are of what is missing.
std::string told_stacks(int32_t pid, const std::string& name, const Tell& tell,
                        const std::function<ProcessStacks()>& walk);

}  // namespace mcr::stacks
