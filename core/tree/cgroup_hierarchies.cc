#include "core/tree/cgroup_hierarchies.h"

#include <fcntl.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/sys/detached_mount.h"
#include "core/sys/file.h"

namespace mcr::tree {
namespace {

// Never of version 2: its mount options are the whole system's, and a new mount would set them anew.
UniqueFd mount_first_version(const std::string& hierarchy) {
  std::vector<sys::MountOption> options;
  bool has_controller = false;
  for (const std::string& word : procfs::cgroup_words(hierarchy)) {
    if (word.starts_with("name="))
      options.push_back({"name", word.substr(5)});
    else
      options.push_back({word, std::nullopt}), has_controller = true;
  }
  if (!has_controller) options.push_back({"none", std::nullopt});
  return sys::mount_detached("cgroup", options);
}

}  // namespace

std::string describe_hierarchy(const std::string& hierarchy) {
  return hierarchy.empty() ? "version 2" : hierarchy;
}

CgroupHierarchies::CgroupHierarchies() : own_(procfs::parse_cgroups(sys::read_text("/proc/self/cgroup"))) {}

bool CgroupHierarchies::has(const std::string& hierarchy) const {
  return std::any_of(own_.begin(), own_.end(), [&](const auto& line) { return line.hierarchy == hierarchy; });
}

bool CgroupHierarchies::can_have(const std::string& hierarchy) const {
  return has(hierarchy) || (hierarchy.starts_with("name=") && hierarchy.find(',') == std::string::npos);
}

std::string CgroupHierarchies::own_path(const std::string& hierarchy) const {
  for (const auto& line : own_)
    if (line.hierarchy == hierarchy) return line.path;
  return "/";
}

int CgroupHierarchies::root(const std::string& hierarchy) {
  const auto known = roots_.find(hierarchy);
  if (known != roots_.end()) return known->second.get();
  const Step step("control groups {}", describe_hierarchy(hierarchy));
  const std::string place = procfs::find_cgroup_mount(sys::read_text("/proc/self/mountinfo"), hierarchy);
  if (place.empty() && hierarchy.empty())
    throw Error(Fault::refused, "they are mounted nowhere here", "mount cgroup2 at /sys/fs/cgroup");
  UniqueFd root = place.empty() ? mount_first_version(hierarchy) : sys::open(place, O_PATH | O_DIRECTORY);
  return roots_.emplace(hierarchy, std::move(root)).first->second.get();
}

}  // namespace mcr::tree
