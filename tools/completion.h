// Completion for shells, from the table of options.
#pragma once

#include <string>
#include <string_view>

namespace mcr::cli {

// A file that bash, zsh or fish reads. Throws Error(usage) for another shell.
std::string completion_for(std::string_view shell);

}  // namespace mcr::cli
