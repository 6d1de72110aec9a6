// The state of a program with everything below it.
#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "tests/cr/process_state.h"

namespace cr {

namespace {

std::vector<std::string> fields_of(pid_t pid) {
  std::string text = read_file("/proc/" + std::to_string(pid) + "/stat");
  size_t close = text.rfind(')');
  std::vector<std::string> fields;
  if (close == std::string::npos) return fields;
  fields = {std::to_string(pid), text.substr(0, close + 1)};
  std::istringstream words(text.substr(close + 2));
  for (std::string word; words >> word;) fields.push_back(word);
  return fields;
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> found;
  std::string base = "/proc/" + std::to_string(pid) + "/task/";
  for (const std::string& tid : list_directory(base)) {
    std::istringstream words(read_file(base + tid + "/children"));
    for (pid_t child; words >> child;) found.push_back(child);
  }
  std::sort(found.begin(), found.end());
  return found;
}

// Field n of proc(5), from 1 on.
std::string field(const std::vector<std::string>& fields, size_t n) {
  return n <= fields.size() ? fields[n - 1] : "?";
}

void add_zombie(pid_t pid, const std::vector<std::string>& fields, ProcessState& state) {
  state.sections["zombies"].push_back(std::to_string(pid) + " " + field(fields, 2) + " status " + field(fields, 52));
}

}  // namespace

std::vector<pid_t> tree_of(pid_t root) {
  std::vector<pid_t> tree{root};
  for (size_t i = 0; i < tree.size(); ++i)
    for (pid_t child : children_of(tree[i])) tree.push_back(child);
  return tree;
}

ProcessState capture_tree(pid_t root, bool stopped) {
  ProcessState all = capture(root, stopped);
  for (pid_t pid : tree_of(root)) {
    auto fields = fields_of(pid);
    if (pid == root && field(fields, 3) == "Z") break;
    all.sections["family"].push_back(std::to_string(pid) + " " + field(fields, 2) + " parent " +
                                     (pid == root ? "any" : field(fields, 4)) + " group " + field(fields, 5) +
                                     " session " + field(fields, 6) + " terminal " + field(fields, 7) + " signal " +
                                     (pid == root ? "any" : field(fields, 38)));
    if (pid == root) continue;
    if (field(fields, 3) == "Z") {
      add_zombie(pid, fields, all);
      continue;
    }
    bool is_stopped = field(fields, 3) == "T";
    ProcessState one = capture(pid, is_stopped);
    if (is_stopped) one.sections["process"].push_back("stopped");
    for (const auto& [name, lines] : one.sections)
      for (const auto& line : lines) all.sections[name].push_back(std::to_string(pid) + ": " + line);
    for (const auto& line : one.trouble) all.trouble.push_back(std::to_string(pid) + ": " + line);
  }
  return all;
}

}  // namespace cr
