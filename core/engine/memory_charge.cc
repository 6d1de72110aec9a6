#include "core/engine/memory_charge.h"

#include <fcntl.h>

#include <algorithm>
#include <charconv>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"
#include "core/sys/memory_object.h"
#include "core/tree/cgroup_hierarchies.h"

namespace mcr::engine {
namespace {

bool has_limit(int root, const std::string& group) {
  for (const char* name : {"memory.max", "memory.high", "memory.limit_in_bytes"}) {
    const auto file = sys::try_open_at(root, "." + group + "/" + name, O_RDONLY);
    if (!file) continue;  // of the other version, or a group in which memory is not counted
    char text[64] = {};
    const size_t n = sys::read_some(file->get(), text, sizeof text);
    if (is_memory_limit(std::string_view(text, n))) return true;
  }
  return false;
}

}  // namespace

procfs::CgroupLine memory_cgroup_of(std::string_view cgroup_file) {
  procfs::CgroupLine second{"", "/"};
  for (const procfs::CgroupLine& line : procfs::parse_cgroups(cgroup_file)) {
    const auto words = procfs::cgroup_words(line.hierarchy);
    if (std::find(words.begin(), words.end(), "memory") != words.end()) return line;
    if (words.empty()) second = line;
  }
  return second;
}

// PAGE_COUNTER_MAX is LONG_MAX in whole pages.
bool is_memory_limit(std::string_view value) {
  constexpr uint64_t kNone = INT64_MAX / 4096 * 4096;
  uint64_t bytes = 0;
  const auto end = std::from_chars(value.data(), value.data() + value.size(), bytes);
  if (end.ec == std::errc::invalid_argument) return !value.starts_with("max");
  return end.ec != std::errc() || bytes < kNone;
}

std::vector<std::string> groups_of_its_own(const std::string& theirs, const std::string& ours) {
  std::vector<std::string> groups;
  const std::string way = ours == "/" ? ours : ours + "/";
  for (std::string group = theirs; group.size() > 1 && !way.starts_with(group + "/");
       group = group.substr(0, group.rfind('/')))
    groups.push_back(group);
  return groups;
}

bool may_be_charged(HostPid pid, int pages_fd) {
  const auto theirs = memory_cgroup_of(sys::read_text(fmt::format("/proc/{}/cgroup", pid)));
  const auto ours = memory_cgroup_of(sys::read_text("/proc/self/cgroup"));
  if (theirs == ours) return true;
  const auto forbid = [&](const char* why) {
    log::info("dump", "process {} is in the memory cgroup {}, {}: mini-criu writes its pages itself", pid, theirs.path,
              why);
    return false;
  };
  if (sys::is_in_memory(pages_fd)) return forbid("and the image is in memory");
  if (theirs.hierarchy != ours.hierarchy || theirs.path.starts_with("/.."))
    return forbid("whose limits cannot be seen");
  try {
    tree::CgroupHierarchies hierarchies;
    const int root = hierarchies.root(theirs.hierarchy);
    for (const std::string& group : groups_of_its_own(theirs.path, ours.path))
      if (has_limit(root, group)) return forbid("which has a limit");
  } catch (const Error& error) {
    log::debug("dump", "{}", error.what());
    return forbid("whose limits cannot be read");
  }
  return true;
}

}  // namespace mcr::engine
