// The features of this host's first processor (/proc/cpuinfo), which an image records and a restore demands.
#pragma once

#include <string>
#include <vector>

namespace mcr::engine {

std::vector<std::string> cpu_flags(std::string& vendor, std::string& model);
// What an image made here demands of a CPU by default (--cpu-cap) that one of the level x86-64-v2 does not have.
std::vector<std::string> demands_beyond_v2();

}  // namespace mcr::engine
