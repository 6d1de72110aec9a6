// Who pays for the pages of an image. What the parasite writes into the page file is charged to the memory cgroup of
// the program (memory.rst, "Memory Ownership"): on a file system in memory it would be the program that is killed for
// it, and it would pay as long as the image exists.
#pragma once

#include <string_view>

#include "core/base/ids.h"
#include "core/procfs/cgroups.h"

namespace mcr::engine {

// Whether the program may write the page file itself: its memory cgroup is ours, or one that has no limit of its own
// while the file is on a disk. What cannot be found out counts as a limit. Reads /proc and the groups' files.
bool may_be_charged(HostPid pid, int pages_fd);

// The line of /proc/PID/cgroup that says who pays for memory: version 1's where there is one.
procfs::CgroupLine memory_cgroup_of(std::string_view cgroup_file);
// memory.max, memory.high, or memory.limit_in_bytes of version 1, whose largest value means none.
bool is_memory_limit(std::string_view value);
// The groups on the way to `theirs` that are not on the way to `ours`, the innermost first; those we pay in as well.
std::vector<std::string> groups_of_its_own(const std::string& theirs, const std::string& ours);

}  // namespace mcr::engine
