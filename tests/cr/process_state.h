// What can be seen of a process from outside, as lines of text that can be compared.
#pragma once

#include <sys/types.h>

#include <map>
#include <set>
#include <string>
#include <vector>

namespace cr {

std::string read_file(const std::string& path);
std::vector<std::string> lines_of(const std::string& text);
std::vector<std::string> list_directory(const std::string& path);

// Section ("maps", "fds", "threads", ...) to its lines.
struct ProcessState {
  std::map<std::string, std::vector<std::string>> sections;
  std::vector<std::string> trouble;  // stopped, traced, vanished: never right in a running program
};

// `stopped`: the program is expected to be stopped by SIGSTOP.
ProcessState capture(pid_t pid, bool stopped);
// The same of the process and all below it, with who belongs to whom (tree_state.cc).
ProcessState capture_tree(pid_t root, bool stopped);
std::vector<pid_t> tree_of(pid_t root);  // parents first

// Readable difference, empty when there is none; `loose` names sections to leave out.
std::string difference(const ProcessState& before, const ProcessState& after, const std::set<std::string>& loose);

bool exists(pid_t pid);  // a zombie exists
char state_letter(pid_t pid);
pid_t tracer_of(pid_t pid);

}  // namespace cr
