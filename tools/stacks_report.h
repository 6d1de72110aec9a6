// Stacks as a person reads them, and as a script does. Pure.
#pragma once

#include <string>

#include "core/stacks/stacks.h"

namespace mcr::cli {

// styled: with the escapes of a terminal.
std::string stacks_text(const stacks::TreeStacks& tree, bool styled);
std::string stacks_json(const stacks::TreeStacks& tree, const std::string& target);

}  // namespace mcr::cli
