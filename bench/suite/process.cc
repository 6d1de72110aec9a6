#include "bench/suite/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

extern char** environ;

namespace bench {
namespace {

using namespace std::chrono_literals;

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

double cpu_of(const rusage& usage) {
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::string joined(const Words& words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + word;
  return line;
}

std::vector<char*> pointers_to(Words& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

Words environment_with(const std::map<std::string, std::string>& added) {
  Words all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!added.contains(text.substr(0, text.find('=')))) all.push_back(text);
  }
  for (const auto& [name, value] : added) all.push_back(name + "=" + value);
  return all;
}

// The last lines, which say why: logs are long.
std::string end_of(const std::string& text) {
  const size_t most = 600;
  return text.size() <= most ? text : "..." + text.substr(text.size() - most);
}

// Parents by child, of every process there is. The name may contain anything, so it is counted from its last bracket.
std::multimap<pid_t, pid_t> children_by_parent() {
  std::multimap<pid_t, pid_t> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string stat = read_text(entry.path() / "stat");
    const size_t bracket = stat.rfind(')');
    int parent = 0;
    if (bracket == std::string::npos || sscanf(stat.c_str() + bracket, ") %*c %d", &parent) != 1) continue;
    children.emplace(parent, std::stoi(name));
  }
  return children;
}

}  // namespace

pid_t start(const Words& command, const Streams& streams, bool new_session,
            const std::map<std::string, std::string>& environment) {
  Words words = command, variables = environment_with(environment);
  const std::vector<char*> arguments = pointers_to(words), all = pointers_to(variables);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, streams.input.c_str(), O_RDWR, 0);
  posix_spawn_file_actions_addopen(&files, 1, streams.output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&files, 1, 2);
  posix_spawn_file_actions_addclosefrom_np(&files, 3);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes,
                           static_cast<short>(POSIX_SPAWN_SETSIGMASK | (new_session ? POSIX_SPAWN_SETSID : 0)));
  pid_t pid = -1;
  const int error = posix_spawnp(&pid, arguments[0], &files, &attributes, arguments.data(), all.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) throw Failure("cannot start " + command[0] + ": " + std::string(strerrordesc_np(error)));
  return pid;
}

Outcome run_to_end(const Words& command, const std::string& output, std::chrono::seconds limit) {
  std::error_code ignored;
  std::filesystem::remove(output, ignored);
  const auto began = Clock::now();
  const pid_t pid = start(command, {"/dev/null", output}, false);
  pollfd end{static_cast<int>(syscall(SYS_pidfd_open, pid, 0)), POLLIN, 0};
  const bool too_slow = poll(&end, 1, static_cast<int>(std::chrono::milliseconds(limit).count())) != 1;
  if (too_slow) kill(pid, SIGKILL);
  close(end.fd);
  Outcome outcome;
  rusage usage{};
  if (wait4(pid, &outcome.status, 0, &usage) != pid) throw Failure("cannot wait for " + joined(command));
  outcome.milliseconds = milliseconds_since(began);
  outcome.cpu_seconds = cpu_of(usage);
  outcome.peak_bytes = usage.ru_maxrss * 1024;
  outcome.output = read_text(output);
  if (too_slow) throw Failure(joined(command) + " took more than " + std::to_string(limit.count()) + " s");
  return outcome;
}

Outcome run_well(const Words& command, const std::string& output, std::chrono::seconds limit) {
  Outcome outcome = run_to_end(command, output, limit);
  if (!WIFEXITED(outcome.status) || WEXITSTATUS(outcome.status) != 0)
    throw Failure(joined(command) + " failed: " + end_of(outcome.output));
  return outcome;
}

std::string first_line_of(const Words& command) {
  char path[] = "/tmp/mcr-bench-XXXXXX";
  const int file = mkstemp(path);
  if (file < 0) return "";
  close(file);
  std::string line;
  try {
    const std::string text = run_to_end(command, path, 10s).output;
    line = text.substr(0, text.find('\n'));
  } catch (const Failure&) {
    line.clear();
  }
  unlink(path);
  return line;
}

std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return access(name.c_str(), X_OK) == 0 ? name : "";
  const char* path = getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');)
    if (const std::string file = folder + "/" + name; access(file.c_str(), X_OK) == 0) return file;
  return "";
}

std::string read_text(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

std::vector<pid_t> tree_of(pid_t root) {
  const auto children = children_by_parent();
  std::vector<pid_t> tree{root};
  for (size_t i = 0; i < tree.size(); ++i) {
    const auto [first, last] = children.equal_range(tree[i]);
    for (auto child = first; child != last; ++child) tree.push_back(child->second);
  }
  return tree;
}

// The CPU clock of a process counts all its threads, ended ones too, in nanoseconds; /proc counts in ticks.
double cpu_seconds_of(const std::vector<pid_t>& pids) {
  double sum = 0;
  for (const pid_t pid : pids) {
    clockid_t clock;
    timespec time{};
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) continue;
    sum += static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
  }
  return sum;
}

double collect_ended() {
  double used = 0;
  rusage usage{};
  while (wait4(-1, nullptr, WNOHANG, &usage) > 0) used += cpu_of(usage);
  return used;
}

namespace {

void end_all(std::vector<pid_t> pids) {
  for (const pid_t pid : pids) kill(pid, SIGKILL);
  for (const auto give_up = Clock::now() + 20s; Clock::now() < give_up;) {
    collect_ended();
    std::erase_if(pids, [](pid_t pid) { return kill(pid, 0) != 0; });
    if (pids.empty()) return;
    std::this_thread::sleep_for(1ms);
  }
}

}  // namespace

void end_tree(pid_t root) {
  const std::vector<pid_t> ours = tree_of(getpid());
  if (std::find(ours.begin(), ours.end(), root) != ours.end()) end_all(tree_of(root));
}

// Again until there are none: a process may be made while the others are ended.
void end_tree_below_us() {
  for (int i = 0; i < 10; ++i) {
    std::vector<pid_t> ours = tree_of(getpid());
    ours.erase(ours.begin());
    if (ours.empty()) return;
    end_all(std::move(ours));
  }
}

}  // namespace bench
