// Texts for people, made from the table of options.
#pragma once

#include <string>

#include "tools/option_table.h"

namespace mcr::cli {

std::string version_text();
std::string version_number();
std::string general_help();
std::string command_help(const Command& command);

// Breaks text at blanks so that no line is longer than `width`; all lines but the first begin with `indent` blanks.
std::string wrapped(std::string_view text, size_t width, size_t indent);

}  // namespace mcr::cli
