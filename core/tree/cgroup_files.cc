#include "core/tree/cgroup_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <set>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"

namespace mcr::tree {
namespace {

using image::CgroupFile;

// They start something, count, or register the writer for news.
bool is_action(std::string_view name) {
  constexpr std::array<std::string_view, 12> kActions = {
      "cgroup.kill",       "cgroup.event_control", "release_agent",         "memory.force_empty",
      "memory.reclaim",    "memory.oom_control",   "devices.allow",         "devices.deny",
      "blkio.reset_stats", "cpuacct.usage",        "memory.pressure_level", "memory.oom.group_kill"};
  if (std::find(kActions.begin(), kActions.end(), name) != kActions.end()) return true;
  for (const std::string_view end : {".failcnt", ".max_usage_in_bytes", ".peak", "_pressure_enabled"})
    if (name.ends_with(end)) return true;
  return name.ends_with(".pressure") && name != "cgroup.pressure";
}

bool is_list_of_members(std::string_view name) {
  return name == "cgroup.procs" || name == "cgroup.threads" || name == "tasks";
}

std::optional<std::string> try_read_at(int folder, const std::string& name) {
  const auto file = sys::try_open_at(folder, name, O_RDONLY | O_NOFOLLOW);
  if (!file) return std::nullopt;
  try {
    return sys::read_text_at(folder, name);
  } catch (const Error&) {
    return std::nullopt;  // some can be read only under conditions of their own
  }
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (!line.empty()) lines.push_back(line);
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
  return lines;
}

bool try_write_at(int folder, const std::string& name, std::string_view text) {
  try {
    const UniqueFd file = sys::open_at(folder, name, O_WRONLY | O_NOFOLLOW);
    sys::write_text(file.get(), text);
    return true;
  } catch (const Error& error) {
    log::debug("cgroups", "{}", error.what());
    return false;
  }
}

// "cpu memory" is read, "+cpu" written.
bool enable_controllers(int folder, const std::string& name, std::string_view wanted) {
  bool all = true;
  while (!wanted.empty()) {
    const std::string_view word = wanted.substr(0, wanted.find_first_of(" \n"));
    if (!word.empty()) all = try_write_at(folder, name, fmt::format("+{}", word)) && all;
    wanted.remove_prefix(std::min(word.size() + 1, wanted.size()));
  }
  return all;
}

bool set_devices(int folder, std::string_view wanted) {
  bool all = try_write_at(folder, "devices.deny", "a");
  for (const std::string_view line : lines_of(wanted)) all = try_write_at(folder, "devices.allow", line) && all;
  return all;
}

bool set_file(int folder, const CgroupFile& file) {
  const std::string& name = file.name();
  const auto now = try_read_at(folder, name);
  if (!now || *now == file.value()) return now.has_value();
  if (name == "cgroup.type" && !file.value().starts_with("threaded")) return true;  // follows from the groups around it
  if (name == "cgroup.subtree_control") return enable_controllers(folder, name, file.value());
  if (name == "devices.list") return set_devices(folder, file.value());
  // Writing a line at a time; a file with one value takes it so as well.
  const auto lines = lines_of(file.value());
  return !lines.empty() && std::all_of(lines.begin(), lines.end(),
                                       [&](std::string_view line) { return try_write_at(folder, name, line); });
}

}  // namespace

std::vector<CgroupFile> read_cgroup_files(int folder) {
  std::vector<CgroupFile> files;
  auto names = sys::list_directory_fd(folder);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const auto status = sys::try_stat_at(folder, name);
    if (!status || !S_ISREG(status->st_mode) || is_action(name)) continue;
    if (!(status->st_mode & 0222) && name != "devices.list") continue;
    CgroupFile file;
    file.set_name(name);
    file.set_mode(status->st_mode & 07777), file.set_uid(status->st_uid), file.set_gid(status->st_gid);
    if (!is_list_of_members(name)) {
      auto value = try_read_at(folder, name);
      if (!value) continue;
      file.set_value(std::move(*value));
    }
    files.push_back(std::move(file));
  }
  return files;
}

bool is_set_last(std::string_view name) {
  return name == "cgroup.freeze" || name == "freezer.state";
}

bool is_cgroup_file(const CgroupFile& file) {
  const std::string& name = file.name();
  if (file.has_value() && is_list_of_members(name)) return false;
  return !name.empty() && name.size() <= 255 && name.find('/') == name.npos && name.find('\0') == name.npos &&
         name != "." && name != ".." && !is_action(name);
}

std::vector<std::string> set_cgroup_files(int folder, const image::Cgroup& group, bool last) {
  std::set<std::string> open;
  for (const CgroupFile& file : group.files())
    if (file.has_value() && is_set_last(file.name()) == last) open.insert(file.name());
  for (size_t before = open.size() + 1; !open.empty() && open.size() < before;) {
    before = open.size();
    for (const CgroupFile& file : group.files())
      if (open.contains(file.name()) && set_file(folder, file)) open.erase(file.name());
  }
  return {open.begin(), open.end()};
}

}  // namespace mcr::tree
