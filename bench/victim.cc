#include "bench/victim.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

extern char** environ;

namespace bench {
namespace {

using namespace std::chrono_literals;

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

template <typename Condition>
bool wait_until(Clock::duration limit, Condition condition) {
  const auto give_up = Clock::now() + limit;
  while (!condition()) {
    if (Clock::now() > give_up) return false;
    std::this_thread::sleep_for(200us);
  }
  return true;
}

double milliseconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) * 1000 + static_cast<double>(time.tv_usec) / 1000;
}

// Its children end with it and become ours; they are in its process group.
void collect_orphans(pid_t leader) {
  wait_until(10s, [&] { return waitpid(-leader, nullptr, WNOHANG) < 0; });
}

// With standard input from /dev/null, the other two into a file, and nothing else open.
pid_t spawn(const std::vector<std::string>& command, const std::string& output, bool new_session) {
  std::vector<char*> pointers;
  for (const std::string& word : command) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&files, 1, 2);
  posix_spawn_file_actions_addclosefrom_np(&files, 3);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  if (new_session) posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, pointers[0], &files, &attributes, pointers.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) throw Failure("cannot start " + command[0] + ": " + std::string(strerrordesc_np(error)));
  return pid;
}

}  // namespace

Victim::Victim(const std::string& program, const std::vector<std::string>& arguments, const std::string& directory)
    : output_(directory + "/victim.out") {
  std::vector<std::string> command{program};
  command.insert(command.end(), arguments.begin(), arguments.end());
  pid_ = spawn(command, output_, true);
  try {
    next_answer();
  } catch (...) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    collect_orphans(pid_);
    throw;
  }
}

Victim::~Victim() {
  if (pid_ <= 0) return;
  // Ours from the start or, as the next subreaper, after a restore; anything else with this pid is left alone.
  if (waitpid(pid_, nullptr, WNOHANG) != 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  collect_orphans(pid_);
}

bool Victim::is_alive() const {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

uint64_t Victim::next_answer() {
  std::string line;
  const bool came = wait_until(60s, [&] {
    const std::string text = read_file(output_);
    size_t start = 0;
    for (unsigned i = 0; i < round_ && start != std::string::npos; ++i)
      if ((start = text.find('\n', start)) != std::string::npos) ++start;
    const size_t end = start == std::string::npos ? start : text.find('\n', start);
    if (end != std::string::npos) line = text.substr(start, end - start);
    return end != std::string::npos || !is_alive();
  });
  if (line.empty()) throw Failure(came ? "the program has ended" : "the program does not answer");
  std::istringstream words(line);
  unsigned round = 0;
  uint64_t value = 0;
  std::string secret;
  words >> round >> value >> secret;
  if (!words || round != round_) throw Failure("the program answers \"" + line + "\"");
  if (round_ == 0) secret_ = secret;
  if (secret != secret_) throw Failure("the program answers with another secret: \"" + line + "\"");
  ++round_;
  return value;
}

uint64_t Victim::ask() {
  if (!is_alive()) throw Failure("the program has ended");
  kill(pid_, SIGUSR1);
  return next_answer();
}

void Victim::expect_killed() {
  int status = 0;
  if (!wait_until(10s, [&] { return waitpid(pid_, &status, WNOHANG) == pid_; }))
    throw Failure("the program lives on after the dump");
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) throw Failure("the program ended by itself");
  if (!wait_until(10s, [&] { return waitpid(-pid_, &status, WNOHANG) < 0; }))
    throw Failure("a child of the program lives on after the dump");
}

Outcome run_command(const std::vector<std::string>& command, const std::string& directory) {
  const std::string output = directory + "/engine.out";
  const auto start = Clock::now();
  const pid_t pid = spawn(command, output, false);
  std::string line;
  for (const std::string& word : command) line += (line.empty() ? "" : " ") + word;
  pollfd end{static_cast<int>(syscall(SYS_pidfd_open, pid, 0)), POLLIN, 0};
  const bool too_slow = poll(&end, 1, 120'000) != 1;
  if (too_slow) kill(pid, SIGKILL);
  close(end.fd);
  int status = 0;
  rusage usage{};
  if (wait4(pid, &status, 0, &usage) != pid) throw Failure("cannot wait for " + line);
  Outcome outcome;
  outcome.milliseconds = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  outcome.cpu_milliseconds = milliseconds(usage.ru_utime) + milliseconds(usage.ru_stime);
  outcome.output = read_file(output);
  if (too_slow) throw Failure(line + " took more than two minutes");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) throw Failure(line + " failed:\n" + outcome.output);
  return outcome;
}

}  // namespace bench
