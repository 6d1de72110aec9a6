// Configuration files: one option a line without its dashes, the value behind a blank or "=", "#" begins a comment.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mcr::cli {

struct ConfigLine {
  std::string argument;  // as on the command line: "--log-file=dump.log"
  std::string origin;    // "FILE:3"
};

// Pure. Throws Error(usage) with file and line.
std::vector<ConfigLine> parse_config(std::string_view text, const std::string& path);
std::vector<ConfigLine> read_config(const std::string& path);         // throws Error(usage) when it cannot be read
std::vector<ConfigLine> read_config_if_any(const std::string& path);  // empty when there is none

// The files read unless --no-default-config or --config is given; later ones count more. From the environment.
std::vector<std::string> default_config_files();

}  // namespace mcr::cli
