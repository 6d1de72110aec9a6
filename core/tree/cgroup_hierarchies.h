// The hierarchies of control groups on this host (cgroups(7)): which there are, and a way into each.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/procfs/cgroups.h"

namespace mcr::tree {

class CgroupHierarchies {
 public:
  CgroupHierarchies();
  // Named as in /proc/PID/cgroup.
  bool has(const std::string& hierarchy) const;
  // It is there, or comes into being when it is mounted: one of version 1 that has a name and no controllers.
  bool can_have(const std::string& hierarchy) const;
  // The group that we are in ourselves.
  std::string own_path(const std::string& hierarchy) const;
  // The root of one, as our cgroup namespace has it: where it is mounted, otherwise (version 1) a mount of our own that
  // nobody else sees. Stays ours. Throws Error.
  int root(const std::string& hierarchy);

 private:
  std::vector<procfs::CgroupLine> own_;
  std::map<std::string, UniqueFd> roots_;
};

std::string describe_hierarchy(const std::string& hierarchy);  // "memory", "version 2"

}  // namespace mcr::tree
