#include "tests/cr/scenario.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace cr {

namespace {
constexpr int64_t kSecond = 1'000'000'000;

std::string tail(const std::string& path, size_t count) {
  auto lines = lines_of(read_file(path));
  std::string text;
  for (size_t i = lines.size() > count ? lines.size() - count : 0; i < lines.size(); ++i)
    text += "    " + lines[i].substr(0, 400) + "\n";
  return text;
}
}  // namespace

Scenario::Scenario(std::string program, std::string engine, uint64_t seed)
    : program_(std::move(program)), engine_(std::move(engine)), random_(seed) {
  name_ = std::filesystem::path(program_).filename();
  const char* base = getenv("MCR_TEST_DIR");
  directory_ = std::string(base && *base ? base : "/tmp") + "/mcr-" + name_ + "-XXXXXX";
  if (!mkdtemp(directory_.data())) throw Failure("cannot make " + directory_);
  std::filesystem::create_directory(directory_ + "/program");
  chmod(directory_.c_str(), 0755);
  chmod((directory_ + "/program").c_str(), 0777);  // some workloads become other users
  prefix_ = directory_ + "/program/state";
}

Scenario::~Scenario() {
  end_all_children();
  for (const auto& object : ipc_) object.remove();
  for (int id : segments_) shmctl(id, IPC_RMID, nullptr);  // they outlive a program that failed
  std::error_code ignored;
  if (!getenv("MCR_TEST_KEEP")) std::filesystem::remove_all(directory_, ignored);
}

std::string Scenario::diagnosis() const {
  std::string text;
  for (const auto& command : commands_) text += "  ran: " + command + "\n";
  std::error_code ignored;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_, ignored)) {
    std::string path = entry.path();
    if (path.ends_with(".log") || path.ends_with(".out"))
      if (std::string end = tail(path, 25); !end.empty()) text += "  end of " + path + ":\n" + end;
  }
  return text;
}

void Scenario::start() {
  fflush(nullptr);
  pid_ = fork();
  if (pid_ < 0) throw Failure("fork failed");
  if (pid_ == 0) {
    setsid();
    int in = open("/dev/null", O_RDONLY);
    int out = open((prefix_ + ".out").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0666);
    dup2(in, 0), dup2(out, 1), dup2(out, 2);
    for (int fd = 3; fd < 1024; ++fd) close(fd);
    execl(program_.c_str(), program_.c_str(), prefix_.c_str(), nullptr);
    _exit(127);
  }
  std::string hints;
  std::optional<int> ended;
  bool ready = wait_until(20 * kSecond, [&] {
    ended = reap(pid_);
    hints = read_file(prefix_ + ".ready");
    return ended || !hints.empty();
  });
  std::string result = read_file(prefix_ + ".result");
  if (result.starts_with("SKIP ")) throw Skipped(result.substr(5));
  if (ended) throw Failure("the workload ended before it was ready: " + result);
  if (!ready) throw Failure("the workload was not ready within 20 s");
  for (const auto& line : lines_of(hints)) {
    size_t space = line.find(' ');
    std::string word = line.substr(0, space), rest = space == std::string::npos ? "" : line.substr(space + 1);
    if (word == "settle") settle_ns_ = atoll(rest.c_str()) * 1'000'000;
    if (word == "loose") loose_.insert(rest);
    if (word == "dump") dump_options_.push_back(rest);
    if (word == "leaves") left_behind_.push_back(rest);
    if (word == "rewind") rewind_.emplace_back(rest, 0);
    if (word == "segment" || word == "remove_segment") segments_.push_back(atoi(rest.c_str()));
    if (word == "remove_segment") segments_to_remove_.push_back(atoi(rest.c_str()));
    const bool is_removed = word.starts_with("remove_");
    if (word == "semaphores" || word == "remove_semaphores") ipc_.push_back({atoi(rest.c_str()), true, is_removed});
    if (word == "queue" || word == "remove_queue") ipc_.push_back({atoi(rest.c_str()), false, is_removed});
  }
  files_before_ = list_directory(directory_ + "/program");
  settle();
}

// Lets the program reach its wait: until no thread runs, or for 60 ms when it works in a loop.
void Scenario::settle() {
  sleep_ns(settle_ns_);
  wait_until(kSecond * 60 / 1000, [&] {
    for (pid_t pid : tree_of(pid_)) {
      std::string base = "/proc/" + std::to_string(pid) + "/task/";
      for (const auto& tid : list_directory(base))
        if (read_file(base + tid + "/stat").find(") R ") != std::string::npos) return false;
    }
    return true;
  });
}

void Scenario::remember() {
  tree_ = tree_of(pid_);
  wait_until(kSecond, [&] {  // a thread may be ending this moment
    before_ = capture_tree(pid_, is_stopped_);
    return before_.trouble.empty();
  });
  if (!before_.trouble.empty()) throw Failure("before anything was done: " + before_.trouble.front());
}

void Scenario::expect_unharmed(const std::string& after_what) {
  std::string found;
  bool same = wait_until(3 * kSecond, [&] {
    found = difference(before_, capture_tree(pid_, is_stopped_), loose_);
    return found.empty();
  });
  if (!same) {
    std::string result = read_file(prefix_ + ".result");
    throw Failure("the program is not as it was, after " + after_what + ":\n" + found +
                  (result.empty() ? "" : "  its result: " + result));
  }
}

void Scenario::expect_no_helpers(const std::string& after_what) {
  std::vector<pid_t> others;
  bool none = wait_until(5 * kSecond, [&] {
    others = children();
    std::erase(others, pid_);
    for (pid_t other : others) reap(other);
    return others.empty();
  });
  if (none) return;
  std::string text = "left over after " + after_what + ":";
  for (pid_t other : others) {
    std::string base = "/proc/" + std::to_string(other);
    text += " process " + std::to_string(other) + " " + read_file(base + "/comm");
  }
  throw Failure(text);
}

bool Scenario::is_all_gone() {
  return std::none_of(tree_.begin(), tree_.end(), [](pid_t pid) {
    reap(pid);
    return exists(pid);
  });
}

void Scenario::kill_all() {
  for (pid_t pid : tree_of(pid_)) kill(pid, SIGKILL);
  if (!wait_until(5 * kSecond, [&] { return is_all_gone(); })) throw Failure("SIGKILL did not end the program");
}

void Scenario::expect_gone() {
  std::optional<int> status;
  if (!wait_until(5 * kSecond, [&] { return (status = reap(pid_)).has_value(); }))
    throw Failure("the dump succeeded, but the program was not killed");
  if (!WIFSIGNALED(*status) || WTERMSIG(*status) != SIGKILL)
    throw Failure("the program ended otherwise than by SIGKILL: " + read_file(prefix_ + ".result"));
  if (!wait_until(5 * kSecond, [&] { return is_all_gone(); })) throw Failure("a process of the tree was not killed");
}

// What an engine that was killed had put there, the next one has taken away.
void Scenario::expect_no_new_files() const {
  const auto is_expected = [&](const std::string& name) {
    return std::any_of(left_behind_.begin(), left_behind_.end(),
                       [&](const std::string& start) { return name.starts_with(start); });
  };
  for (const std::string& name : list_directory(directory_ + "/program"))
    if (std::find(files_before_.begin(), files_before_.end(), name) == files_before_.end() && !is_expected(name))
      throw Failure("the engine left a file with the program's: " + name);
}

void Scenario::rewind_files() const {
  for (const auto& [path, size] : rewind_) {
    struct stat status {};
    if (stat(path.c_str(), &status) == 0 && status.st_size == size) continue;  // its times stay too
    if (truncate(path.c_str(), size) != 0) throw Failure("cannot truncate " + path);
  }
}

void Scenario::IpcObject::remove() const {
  if (is_semaphores)
    semctl(id, 0, IPC_RMID);
  else
    msgctl(id, IPC_RMID, nullptr);
}

// As an administrator may do. Not there: a restore before was killed early.
void Scenario::remove_segments() const {
  for (int id : segments_to_remove_)
    if (shmctl(id, IPC_RMID, nullptr) != 0 && errno != EINVAL)
      throw Failure("cannot remove segment " + std::to_string(id));
  for (const auto& object : ipc_)
    if (object.is_removed) object.remove();
}

void Scenario::finish() {
  expect_no_new_files();
  std::ofstream(prefix_ + ".pauses") << gone_;
  kill(pid_, SIGTERM);
  std::optional<int> status;
  bool ended = wait_until(20 * kSecond, [&] { return (status = reap(pid_)).has_value(); });
  std::string result = read_file(prefix_ + ".result");
  if (!ended)
    throw Failure("the program did not end within 20 s of SIGTERM (state " + std::string(1, state_letter(pid_)) +
                  "); its result: " + result);
  if (WIFSIGNALED(*status))
    throw Failure("the program died of signal " + std::to_string(WTERMSIG(*status)) + " " + result);
  if (!result.starts_with("PASS")) throw Failure("the program says: " + result);
  if (*status != 0) throw Failure("the program ended with " + std::to_string(WEXITSTATUS(*status)));
  expect_no_helpers("all");
}

}  // namespace cr
