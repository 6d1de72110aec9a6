// "Did you mean ...?"
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mcr::cli {

// The candidate that is nearest to `typed`, empty when none is near enough to be a likely slip of the finger.
std::string nearest(std::string_view typed, const std::vector<std::string>& candidates);

// "did you mean --tree? (mini-criu --help lists all options)"
std::string option_hint(std::string_view typed);
std::string command_hint(std::string_view typed);

}  // namespace mcr::cli
