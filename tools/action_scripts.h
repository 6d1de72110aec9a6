// --action-script: programs run at the named moments of a dump or a restore.
#pragma once

#include <string>
#include <vector>

#include "core/engine/options.h"

namespace mcr::cli {

// Runs the scripts in order. One that ends with anything but 0 aborts the operation: Error(refused) with its name.
// Empty when there are no scripts. Throws Error(usage) when one cannot be run.
engine::Hook script_hook(const std::vector<std::string>& scripts, const std::string& images_dir);

// "CRTOOLS_SCRIPT_ACTION=pre-dump" and so on, under CRIU's names and under ours. Pure.
std::vector<std::string> script_environment(std::string_view action, const std::string& images_dir, HostPid root);

}  // namespace mcr::cli
