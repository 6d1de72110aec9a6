// Stacks as a person reads them, and as a script does. Pure.
#pragma once

#include <string>

#include "core/stacks/stacks.h"

namespace mcr::cli {

// One process as it is to be told. styled: with the escapes of a terminal.
stacks::Tell in_words(bool styled);
std::string in_json(const stacks::ProcessStacks& process);  // in bytes that stacks_json() understands
// All of them.
std::string stacks_text(const stacks::TreeStacks& tree, bool styled);
std::string stacks_json(const stacks::TreeStacks& tree, const std::string& target);

}  // namespace mcr::cli
