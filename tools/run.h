// The whole program behind main(): parse, run one command, report. Catches every Error.
#pragma once

#include <string>
#include <vector>

#include "core/base/error.h"
#include "tools/situation.h"

namespace mcr::cli {

// The words without the program's name; returns the exit code. A foreground restore may end the process instead.
int run(const std::vector<std::string>& words);

// Writes a failure to the log, to standard error and, with --json, to standard output; returns the exit code.
int report_failure(const Situation& situation, const Error& error);

}  // namespace mcr::cli
