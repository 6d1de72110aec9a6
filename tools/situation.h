// What must be known to report a failure wherever it comes from. Filled as a command goes on.
#pragma once

#include <string>

#include "core/base/damage.h"

namespace mcr::cli {

struct Situation {
  std::string command;  // empty until it is known
  bool json = false;
  bool logging = false;      // the log is open
  bool log_in_file = false;  // and a person at the terminal does not see it
  bool concluded = false;    // dump or restore itself succeeded; only what comes after it can still fail
  Damage damage;
};

}  // namespace mcr::cli
