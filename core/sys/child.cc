#include "core/sys/child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstring>

#include "core/sys/failure.h"

namespace mcr::sys {
namespace {

constexpr int kFailedChild = 70;  // EX_SOFTWARE of sysexits.h

void reset_signals() {
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);  // SIGKILL and SIGSTOP refuse
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// close_range(2), 5.9, for what lies between the ones that are kept.
void close_all_but(std::span<const int> keep) {
  std::vector<int> kept(keep.begin(), keep.end());
  std::ranges::sort(kept);
  unsigned from = 3;
  for (const int fd : kept) {
    if (fd < static_cast<int>(from)) continue;
    if (static_cast<unsigned>(fd) > from) ::syscall(SYS_close_range, from, static_cast<unsigned>(fd) - 1, 0);
    from = static_cast<unsigned>(fd) + 1;
  }
  ::syscall(SYS_close_range, from, ~0U, 0);
}

[[noreturn]] void work_and_end(const std::function<int()>& work) {
  int status = kFailedChild;
  try {
    reset_signals();
    status = work();
  } catch (...) {
  }
  ::_exit(status);
}

// All signals wait while a child is made: none may run a handler of ours in it.
class SignalsHeld {
 public:
  SignalsHeld() {
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsHeld() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
  SignalsHeld(const SignalsHeld&) = delete;
  SignalsHeld& operator=(const SignalsHeld&) = delete;

 private:
  sigset_t before_;
};

// No terminal and no file system is kept busy.
void leave_place() {
  check(::chdir("/"), "enter /");
  const UniqueFd nothing(check(::open("/dev/null", O_RDWR | O_CLOEXEC), "open /dev/null"));
  for (int number = 0; number < 3; ++number) check(::dup2(nothing.get(), number), "dup2");
}

}  // namespace

void become_subreaper() {
  check(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)");
}

HostPid start_twin(const std::function<int()>& work) {
  const SignalsHeld held;
  const pid_t pid = check(::fork(), "fork");
  if (pid == 0) work_and_end(work);
  return HostPid(pid);
}

void end_with(HostPid parent) {
  check(::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)");
  if (::getppid() != parent.get()) throw_code(ESRCH, "the parent");
}

HostPid start_child(std::span<const int> keep, const std::function<int()>& work) {
  return start_twin([&] { return close_all_but(keep), work(); });
}

void start_detached(std::span<const int> keep, const std::function<int()>& work) {
  const SignalsHeld held;
  const pid_t between = check(::fork(), "fork");
  if (between == 0) {
    ::setsid();
    const pid_t pid = ::fork();
    if (pid == 0) work_and_end([&] { return close_all_but(keep), leave_place(), work(); });
    ::_exit(pid < 0 ? 1 : 0);
  }
  int status = 0;
  while (::waitpid(between, &status, 0) < 0)
    if (errno != EINTR) throw_errno("wait for a process that starts another");
  if (status != 0) throw_code(EAGAIN, "fork");
}

void become_session_program(const ProgramPlace& place) {
  check(::setsid(), "setsid");
  const UniqueFd nothing(check(::open("/dev/null", O_RDONLY | O_CLOEXEC), "open /dev/null"));
  const bool has_terminal = place.terminal >= 0;
  if (has_terminal) check(::ioctl(place.terminal, TIOCSCTTY, 0), "ioctl(TIOCSCTTY)");
  check(::dup2(has_terminal ? place.terminal : nothing.get(), 0), "dup2");
  for (const int number : {1, 2}) check(::dup2(has_terminal ? place.terminal : place.output, number), "dup2");
  check(::chdir(place.folder.c_str()), "enter " + place.folder);
  std::vector<char*> words, environment;
  for (const std::string& word : place.command) words.push_back(const_cast<char*>(word.c_str()));
  for (const std::string& entry : place.environment) environment.push_back(const_cast<char*>(entry.c_str()));
  words.push_back(nullptr), environment.push_back(nullptr);
  environ = environment.data();  // execvp looks for PATH there
  ::execvp(words.front(), words.data());
  throw_errno("run " + place.command.front());
}

void leave_session() {
  check(::setsid(), "setsid");
}

bool try_kill_group(HostPid leader, int signal) {
  if (::kill(-leader.get(), signal) == 0) return true;
  if (errno == ESRCH) return false;
  throw_errno(fmt::format("kill group {} with signal {}", leader, signal));
}

std::optional<pid_t> try_session_of(HostPid pid) {
  const pid_t session = ::getsid(pid.get());
  if (session < 0) return std::nullopt;
  return session;
}

std::optional<ChildChange> collect_ended(HostPid pid) {
  siginfo_t info{};
  const int result = ::waitid(P_PID, static_cast<id_t>(pid.get()), &info, WEXITED | WNOHANG);
  if (result != 0 && (errno == ECHILD || errno == EINTR)) return std::nullopt;
  check(result, "waitid");
  if (info.si_pid == 0) return std::nullopt;
  return change_of(info.si_code, info.si_status);
}

void wait_any_readable(std::span<const int> fds, int milliseconds) {
  std::vector<pollfd> polled;
  for (const int fd : fds) polled.push_back({fd, POLLIN, 0});
  if (::poll(polled.data(), polled.size(), milliseconds) < 0 && errno != EINTR) throw_errno("poll");
}

std::vector<std::string> own_environment() {
  std::vector<std::string> all;
  for (char** entry = environ; *entry; ++entry) all.emplace_back(*entry);
  return all;
}

std::optional<int> signal_by_name(const std::string& name) {
  const std::string_view bare = std::string_view(name).substr(name.starts_with("SIG") ? 3 : 0);
  int number = 0;
  const auto [end, code] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (code != std::errc() || end != name.data() + name.size())
    for (number = NSIG - 1; number > 0; --number)
      if (const char* known = ::sigabbrev_np(number); known && bare == known) break;
  if (number <= 0 || number >= NSIG || number == SIGKILL || number == SIGSTOP) return std::nullopt;
  return number;
}

std::string signal_name(int number) {
  const char* known = ::sigabbrev_np(number);
  return known ? known : std::to_string(number);
}

}  // namespace mcr::sys
