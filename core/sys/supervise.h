// What a program needs that stands in for another one: signals taken as data, the changes of a child, programs run
// and waited for. Every function throws Error unless its comment names an expected outcome. Main thread only.
#pragma once

#include <sys/types.h>

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/unique_fd.h"

namespace mcr::sys {

struct ArrivedSignal {
  int number = 0;
  bool from_kernel = false;  // SI_KERNEL: from the terminal, which sends to every process of its foreground group
};
// Blocks the signals and returns a non-blocking signalfd(2) that they arrive at instead.
UniqueFd receive_signals(std::span<const int> numbers);
std::optional<ArrivedSignal> next_signal(int signal_fd);  // nullopt: none waiting
bool signal_by_pidfd(int pidfd, int number);              // false: it has ended already

// How a program ended, or that it stands still.
struct ChildChange {
  enum class What { exited, killed, stopped, continued };
  What what = What::exited;
  int number = 0;  // the exit status, or the signal
};
std::optional<ChildChange> next_change(int pidfd);  // waitid(2), never waits; nullopt: nothing new
// From si_code and si_status of a SIGCHLD. Pure.
ChildChange change_of(int code, int status);
// Waits until one of the descriptors is readable.
void wait_any_readable(std::span<const int> fds);

void stop_ourselves();  // SIGSTOP; returns when continued
// Ends this process as the signal would end it, so that our parent sees it; no core file is written.
[[noreturn]] void end_by_signal(int number);

bool is_executable(const std::string& path);
// Runs a program by its path, without a shell, with every signal at its default and none blocked; waits for its end.
// `more_environment` ("NAME=value") replaces and adds to ours.
ChildChange run_program(const std::string& path, const std::vector<std::string>& more_environment);
// Likewise a command that is looked for in PATH, in our environment.
ChildChange run_command(const std::vector<std::string>& command);
// execvp(3): returns only by throwing.
[[noreturn]] void become_program(const std::vector<std::string>& command);

}  // namespace mcr::sys
