#include "core/engine/host_cpu.h"

#include <algorithm>
#include <set>

#include "core/arch/cpu_features.h"
#include "core/sys/file.h"

namespace mcr::engine {

std::vector<std::string> cpu_flags(std::string& vendor, std::string& model) {
  const std::string text = sys::read_text("/proc/cpuinfo");
  const auto value = [&](std::string_view key) -> std::string {
    const size_t at = text.find(key);
    if (at == std::string::npos) return {};
    const size_t colon = text.find(": ", at), end = text.find('\n', at + 1);  // the key may begin with one
    return colon < end ? text.substr(colon + 2, end - colon - 2) : std::string();
  };
  vendor = value("vendor_id"), model = value("model name");
  std::vector<std::string> flags;
  const std::string line = value("\nflags");
  for (size_t at = 0; at < line.size();) {
    const size_t end = std::min(line.find(' ', at), line.size());
    if (end > at) flags.push_back(line.substr(at, end - at));
    at = end + 1;
  }
  return flags;
}

// The names of the x86-64 psABI's levels, in the words of /proc/cpuinfo.
std::vector<std::string> demands_beyond_v2() {
  const std::set<std::string> v2{"fpu",    "mmx",   "fxsr", "sse",     "sse2",    "syscall", "cx8",
                                 "cmov",   "tsc",   "pni",  "cx16",    "lahf_lm", "popcnt",  "sse4_1",
                                 "sse4_2", "ssse3", "msr",  "clflush", "lm",      "nx",      "rdtscp"};
  std::string vendor, model;
  return arch::missing_flags(cpu_flags(vendor, model), v2, {});
}

}  // namespace mcr::engine
