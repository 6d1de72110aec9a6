// /proc/PID/cgroup (cgroups(7)) and the mounts of its hierarchies. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mcr::procfs {

struct CgroupLine {
  std::string hierarchy;  // "memory", "cpu,cpuacct", "name=systemd"; empty: version 2
  std::string path;       // below the root of the hierarchy
  bool operator==(const CgroupLine&) const = default;
};

// Lines that are none are left out.
std::vector<CgroupLine> parse_cgroups(std::string_view text);

// The words of a hierarchy's name: controllers, "name=...". None: version 2.
std::vector<std::string> cgroup_words(std::string_view hierarchy);

// Where the root of a hierarchy is mounted, from /proc/PID/mountinfo; empty when it is nowhere.
std::string find_cgroup_mount(std::string_view mountinfo, std::string_view hierarchy);

}  // namespace mcr::procfs
