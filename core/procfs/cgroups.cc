#include "core/procfs/cgroups.h"

#include <algorithm>

namespace mcr::procfs {

// "4:memory:/batch/job 7": only the path may hold a colon of its own, except in the name of a hierarchy.
std::vector<CgroupLine> parse_cgroups(std::string_view text) {
  std::vector<CgroupLine> lines;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const size_t first = line.find(':'), last = line.find(":/");
    if (first == line.npos || last == line.npos || last < first) continue;
    const std::string_view hierarchy = last > first ? line.substr(first + 1, last - first - 1) : std::string_view();
    lines.push_back({std::string(hierarchy), std::string(line.substr(last + 1))});
  }
  return lines;
}

namespace {

std::vector<std::string> split(std::string_view text, char at) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(at));
    if (!word.empty()) words.emplace_back(word);
    text.remove_prefix(std::min(word.size() + 1, text.size()));
  }
  return words;
}

// Blanks, line feeds and backslashes are printed as three octal digits.
std::string unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](size_t k) { return text[i + k] >= '0' && text[i + k] <= '7'; };
    if (text[i] == '\\' && i + 3 < text.size() && digit(1) && digit(2) && digit(3)) {
      plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

}  // namespace

std::vector<std::string> cgroup_words(std::string_view hierarchy) {
  return split(hierarchy, ',');
}

// 36 35 98:0 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
std::string find_cgroup_mount(std::string_view mountinfo, std::string_view hierarchy) {
  const std::vector<std::string> wanted = cgroup_words(hierarchy);
  for (const std::string& line : split(mountinfo, '\n')) {
    const auto fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 7 || fields[3] != "/" || fields.end() - dash < 4) continue;
    if (dash[1] == "cgroup2" && wanted.empty()) return unescape(fields[4]);
    if (dash[1] != "cgroup" || wanted.empty()) continue;
    const std::vector<std::string> has = split(dash[3], ',');
    const auto is_in = [&](const std::string& word) { return std::find(has.begin(), has.end(), word) != has.end(); };
    if (std::all_of(wanted.begin(), wanted.end(), is_in)) return unescape(fields[4]);
  }
  return {};
}

}  // namespace mcr::procfs
