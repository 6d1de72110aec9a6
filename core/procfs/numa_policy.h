// The memory policy of a thread (set_mempolicy(2)), as /proc/PID/task/TID/numa_maps (numa(7)) prints it at every
// mapping that has none of its own. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace mcr::procfs {

struct NumaPolicy {
  uint32_t mode = 0;            // MPOL_* with MPOL_F_STATIC_NODES, _RELATIVE_NODES, _NUMA_BALANCING
  std::vector<uint64_t> nodes;  // 64 a word
  bool operator==(const NumaPolicy&) const = default;
};

// Of one line: "7f0000000000 bind=static:0-1,4 anon=3". nullopt: a policy that is not known here.
std::optional<NumaPolicy> parse_numa_policy(std::string_view line);

}  // namespace mcr::procfs
