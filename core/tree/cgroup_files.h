// The files of a control group by which it is configured: which of them belong to an image, and how each is set.
#pragma once

#include <string_view>
#include <vector>

#include "images/proto/cgroups.pb.h"

namespace mcr::tree {

// Of the group whose folder this is. What only starts an action or counts is left out, and release_agent, which is a
// program that the kernel runs as root.
std::vector<mcr::image::CgroupFile> read_cgroup_files(int folder);

// Those that take effect when all is in place: a group is frozen last.
bool is_set_last(std::string_view name);
// Whether an image may name it at all, and give it a value. What is written to a list of members moves processes.
bool is_cgroup_file(const mcr::image::CgroupFile& file);

// Sets every file that says something else (with `last`: those that are set last, otherwise the others), as often as it
// takes for what depends on one another. Returns the names of those that could not be set.
std::vector<std::string> set_cgroup_files(int folder, const mcr::image::Cgroup& group, bool last);

}  // namespace mcr::tree
