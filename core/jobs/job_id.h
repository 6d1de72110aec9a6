// Names of jobs. Pure.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace mcr::jobs {

// Letters, digits, '.', '_' and '-', 1 to 64 of them, the first a letter or a digit: a folder's name that needs no
// quotes.
bool is_job_id(std::string_view text);
// For a command without --id: "train-1" for python3 train.py, "simulate-2" when there is a simulate-1.
std::string propose_id(const std::vector<std::string>& command, const std::set<std::string>& taken);

}  // namespace mcr::jobs
