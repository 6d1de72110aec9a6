// Which flags of /proc/cpuinfo a program may have found at its start and rely on. Pure; any thread.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace mcr::arch {

enum class CpuFlag {
  registers,     // adds registers: x87, SSE, AVX, AVX-512, AMX
  instructions,  // a program can see it and its code can depend on it: glibc chooses functions by it, once
  kernel         // for the kernel or the machine: another CPU without it runs the same program
};
// A flag that is not known counts as instructions: a refusal can be overruled, a wrong instruction cannot.
CpuFlag kind_of_flag(std::string_view flag);
// Why a flag of the kernel need not be there again ("a mitigation, ..."); empty for all others.
std::string_view reason_not_needed(std::string_view flag);

struct CpuDemand {  // --cpu-cap
  bool registers = true, instructions = true;
  bool exact = false;  // every flag, also those for the kernel
};
// Those of `wanted` that are demanded and not in `present`.
std::vector<std::string> missing_flags(const std::vector<std::string>& wanted, const std::set<std::string>& present,
                                       const CpuDemand& demand);

}  // namespace mcr::arch
