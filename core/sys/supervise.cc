#include "core/sys/supervise.h"

#include <poll.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "core/sys/failure.h"

#ifndef P_PIDFD
#define P_PIDFD 3  // since Linux 5.4
#endif

namespace mcr::sys {
namespace {

sigset_t set_of(std::span<const int> numbers) {
  sigset_t set;
  ::sigemptyset(&set);
  for (int number : numbers) ::sigaddset(&set, number);
  return set;
}

// posix_spawn(3) attributes: nothing that we block or ignore reaches the program.
class SpawnAttributes {
 public:
  SpawnAttributes() {
    ::posix_spawnattr_init(&attributes_);
    sigset_t set;
    ::sigemptyset(&set);
    ::posix_spawnattr_setsigmask(&attributes_, &set);
    ::sigfillset(&set);
    ::posix_spawnattr_setsigdefault(&attributes_, &set);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnAttributes() { ::posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;
  const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

bool sets_same_name(std::string_view a, std::string_view b) {
  return a.substr(0, a.find('=')) == b.substr(0, b.find('='));
}

std::vector<char*> environment_with(const std::vector<std::string>& more) {
  std::vector<char*> all;
  for (char** entry = environ; *entry; ++entry)
    if (std::ranges::none_of(more, [&](const std::string& added) { return sets_same_name(*entry, added); }))
      all.push_back(*entry);
  for (const std::string& added : more) all.push_back(const_cast<char*>(added.c_str()));
  all.push_back(nullptr);
  return all;
}

}  // namespace

UniqueFd receive_signals(std::span<const int> numbers) {
  const sigset_t set = set_of(numbers);
  check(::sigprocmask(SIG_BLOCK, &set, nullptr), "sigprocmask");
  return UniqueFd(check(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd"));
}

std::optional<ArrivedSignal> next_signal(int signal_fd) {
  signalfd_siginfo info{};
  const ssize_t n = ::read(signal_fd, &info, sizeof info);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  check(n, "read a signalfd");
  return ArrivedSignal{static_cast<int>(info.ssi_signo), info.ssi_code == SI_KERNEL};
}

bool signal_by_pidfd(int pidfd, int number) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, number, nullptr, 0) == 0) return true;
  if (errno == ESRCH) return false;
  throw_errno("pidfd_send_signal");
}

ChildChange change_of(int code, int status) {
  switch (code) {
    case CLD_EXITED:
      return {ChildChange::What::exited, status};
    case CLD_KILLED:
    case CLD_DUMPED:
      return {ChildChange::What::killed, status};
    case CLD_CONTINUED:
      return {ChildChange::What::continued, status};
    default:
      return {ChildChange::What::stopped, status};  // CLD_STOPPED, CLD_TRAPPED
  }
}

std::optional<ChildChange> next_change(int pidfd) {
  siginfo_t info{};  // si_pid stays 0 when nothing has changed
  const auto id = static_cast<id_t>(pidfd);
  check(::waitid(static_cast<idtype_t>(P_PIDFD), id, &info, WEXITED | WSTOPPED | WCONTINUED | WNOHANG), "waitid");
  if (info.si_pid == 0) return std::nullopt;
  return change_of(info.si_code, info.si_status);
}

void wait_any_readable(std::span<const int> fds) {
  std::vector<pollfd> polled;
  for (int fd : fds) polled.push_back({fd, POLLIN, 0});
  while (::poll(polled.data(), polled.size(), -1) < 0)
    if (errno != EINTR) throw_errno("poll");
}

void stop_ourselves() {
  check(::raise(SIGSTOP), "stop");
}

void end_by_signal(int number) {
  const rlimit none{0, 0};  // the program has written its core already; ours would say nothing
  ::setrlimit(RLIMIT_CORE, &none);
  ::signal(number, SIG_DFL);
  const sigset_t set = set_of({&number, 1});
  ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
  ::raise(number);
  ::_exit(128 + number);  // reached for a signal that does not end a process by default
}

bool is_executable(const std::string& path) {
  return ::access(path.c_str(), X_OK) == 0;
}

namespace {

ChildChange end_of(pid_t pid, const std::string& what) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) throw_errno("wait for " + what);
  if (WIFSIGNALED(status)) return {ChildChange::What::killed, WTERMSIG(status)};
  return {ChildChange::What::exited, WEXITSTATUS(status)};
}

std::vector<char*> arguments_of(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  return arguments;
}

}  // namespace

ChildChange run_program(const std::string& path, const std::vector<std::string>& more_environment) {
  const SpawnAttributes attributes;
  std::vector<char*> environment = environment_with(more_environment);
  char* arguments[] = {const_cast<char*>(path.c_str()), nullptr};
  pid_t pid = -1;
  const int code = ::posix_spawn(&pid, path.c_str(), nullptr, attributes.get(), arguments, environment.data());
  if (code != 0) throw_code(code, "start " + path);
  return end_of(pid, path);
}

ChildChange run_command(const std::vector<std::string>& command) {
  const SpawnAttributes attributes;
  std::vector<char*> arguments = arguments_of(command);
  pid_t pid = -1;
  const int code = ::posix_spawnp(&pid, arguments[0], nullptr, attributes.get(), arguments.data(), ::environ);
  if (code != 0) throw_code(code, "start " + command.front());
  return end_of(pid, command.front());
}

void become_program(const std::vector<std::string>& command) {
  std::vector<char*> arguments = arguments_of(command);
  ::execvp(arguments[0], arguments.data());
  throw_errno("run " + command.front());
}

}  // namespace mcr::sys
