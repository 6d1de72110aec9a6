#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>

#include "tests/cr/scenario.h"

namespace cr {

int64_t now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

void sleep_ns(int64_t ns) {
  int64_t end = now_ns() + ns;
  timespec until{end / 1'000'000'000, end % 1'000'000'000};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
  }
}

bool wait_until(int64_t limit_ns, const std::function<bool()>& condition) {
  for (int64_t end = now_ns() + limit_ns;;) {
    if (condition()) return true;
    if (now_ns() > end) return false;
    sleep_ns(1'000'000);
  }
}

std::vector<pid_t> children() {
  std::vector<pid_t> found;
  std::istringstream words(read_file("/proc/self/task/" + std::to_string(getpid()) + "/children"));
  for (pid_t pid; words >> pid;) found.push_back(pid);
  return found;
}

void end_all_children() {
  // A child that dies may leave children of its own to us: until there are none.
  wait_until(5'000'000'000, [] {
    for (pid_t pid : children()) kill(pid, SIGKILL);
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    return children().empty();
  });
}

std::optional<int> reap(pid_t pid) {
  int status = 0;
  if (waitpid(pid, &status, WNOHANG) == pid) return status;
  return std::nullopt;
}

}  // namespace cr
