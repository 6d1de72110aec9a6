#include "tools/debugger.h"

#include <signal.h>

#include <cstdlib>
#include <ranges>

#include "core/base/error.h"
#include "core/base/log.h"

namespace mcr::cli {
namespace {

constexpr char kProgram[] = "gdb";
// gdb meets the stop of each thread but the first once more when it lets the program go on, takes it for one that
// happens then, and stops the program again.
constexpr char kNoStops[] = "handle SIGSTOP nostop noprint nopass";

bool is_in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  for (const auto part : std::views::split(std::string_view(path ? path : "/usr/bin:/bin"), ':')) {
    const std::string folder(part.begin(), part.end());
    if (sys::is_executable((folder.empty() ? "." : folder) + "/" + program)) return true;
  }
  return false;
}

std::vector<std::string> command_for(HostPid root, const std::vector<std::string>& arguments) {
  std::vector<std::string> command{kProgram, "-iex", kNoStops, "-p", fmt::format("{}", root)};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

}  // namespace

Debugger::Debugger(std::vector<std::string> arguments) : arguments_(std::move(arguments)) {
  if (!is_in_path(kProgram))
    throw Error(Fault::refused, "there is no gdb in PATH: nothing was restored",
                "install gdb; or restore with --stopped -d and attach another debugger to the pid");
}

// A program that was stopped by job control stands so again when gdb has let go of it, also one that gdb had let go on.
sys::ChildChange Debugger::run(const engine::Restored& restored) const {
  const auto let_go = [&] {
    if (!restored.root_was_stopped) sys::signal_by_pidfd(restored.pidfd.get(), SIGCONT);
    for (const engine::Standing& other : restored.standing) sys::signal_by_pidfd(other.pidfd.get(), SIGCONT);
  };
  try {
    const sys::ChildChange end = sys::run_command(command_for(restored.root, arguments_));
    let_go();
    return end;
  } catch (const Error&) {
    let_go();  // it is restored all the same
    throw;
  }
}

void tell_standing(const engine::Restored& restored) {
  std::string pids = fmt::format("{}", restored.root);
  for (const engine::Standing& other : restored.standing) pids += fmt::format(" {}", other.pid);
  log::message("restore",
               "The program stands where it was saved. To look at it: gdb -p {} (and there: {}); to let it go on: "
               "kill -CONT {}",
               restored.root, kNoStops, pids);
}

}  // namespace mcr::cli
