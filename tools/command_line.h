// From the words of the command line to a command, its operands and its settings.
#pragma once

#include <string>
#include <vector>

#include "tools/option_table.h"
#include "tools/settings.h"

namespace mcr::cli {

struct CommandLine {
  const Command* command = nullptr;   // built; null only with --help or --version and no command
  std::vector<std::string> operands;  // words behind the command, also those behind "--"
  Settings settings;
  bool wants_help = false;
  bool wants_version = false;
};

// The words without the program's name. Options may stand on both sides of the command. The configuration files are
// read first and count less than the command line. Throws Error(usage).
CommandLine parse_command_line(std::vector<std::string> words, const std::vector<std::string>& config_files);

}  // namespace mcr::cli
