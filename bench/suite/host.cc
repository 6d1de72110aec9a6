#include "bench/suite/host.h"

#include <stdlib.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace bench {
namespace {

// What stands behind `key` and its separator in a file of such lines.
std::string value_in(const std::string& path, const std::string& key, char separator) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t at = line.find(separator);
    if (!line.starts_with(key) || at == std::string::npos) continue;
    std::string value = line.substr(at + 1);
    value.erase(0, value.find_first_not_of(" \t\""));
    value.erase(value.find_last_not_of(" \t\"") + 1);
    return value;
  }
  return "";
}

// Type of the file system with the longest mount point above the folder.
std::string file_system_of(const std::string& folder) {
  std::ifstream mounts("/proc/self/mounts");
  std::string best_point, best_type;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string device, point, type;
    words >> device >> point >> type;
    const bool above = folder == point || folder.starts_with(point == "/" ? point : point + "/");
    if (above && point.size() >= best_point.size()) best_point = point, best_type = type;
  }
  return best_type;
}

}  // namespace

nlohmann::json describe_machine(const std::string& memory_folder, const std::string& disk_folder) {
  utsname name{};
  uname(&name);
  const std::string flags = value_in("/proc/cpuinfo", "flags", ':');
  std::string huge = read_text("/sys/kernel/mm/transparent_hugepage/enabled");
  const size_t open = huge.find('['), close = huge.find(']');
  huge = open != std::string::npos && close > open ? huge.substr(open + 1, close - open - 1) : "none";
  nlohmann::json machine = {
      {"cpu", value_in("/proc/cpuinfo", "model name", ':')},
      {"cores", sysconf(_SC_NPROCESSORS_ONLN)},
      {"virtual", (" " + flags + " ").find(" hypervisor ") != std::string::npos},
      {"memory_mib", strtol(value_in("/proc/meminfo", "MemTotal", ':').c_str(), nullptr, 10) / 1024},
      {"kernel", name.release},
      {"system", value_in("/etc/os-release", "PRETTY_NAME", '=')},
      {"huge_pages", huge},
      {"images_on", file_system_of(memory_folder)}};
  if (!disk_folder.empty()) machine["disk"] = file_system_of(disk_folder);
  return machine;
}

nlohmann::json describe_engines(const std::vector<Found>& engines) {
  nlohmann::json all = nlohmann::json::array();
  for (const Found& found : engines) {
    nlohmann::json one = {{"name", found.name}};
    if (found.engine)
      one["version"] = found.engine->version();
    else
      one["missing"] = found.reason;
    all.push_back(std::move(one));
  }
  return all;
}

std::string source_commit() {
  const Words git{"git", "-C", MCR_BENCH_SOURCE, "-c", "safe.directory=*"};
  const auto ask = [&git](const Words& words) {
    Words command = git;
    command.insert(command.end(), words.begin(), words.end());
    return first_line_of(command);
  };
  const std::string commit = ask({"rev-parse", "--short", "HEAD"});
  if (commit.empty() || commit.find(' ') != std::string::npos) return "";
  return commit + (ask({"status", "--porcelain", "--untracked-files=no"}).empty() ? "" : "-changed");
}

std::string now_as_text() {
  const time_t now = time(nullptr);
  tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &parts);
  return text;
}

double load_average() {
  double load = 0;
  return getloadavg(&load, 1) == 1 ? load : 0;
}

}  // namespace bench
