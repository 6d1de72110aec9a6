#include "tools/foreground.h"

#include <array>
#include <csignal>

#include "core/base/log.h"
#include "core/sys/process.h"

namespace mcr::cli {
namespace {

constexpr std::array kPassedOn = {SIGINT,  SIGTERM,  SIGHUP,  SIGQUIT, SIGUSR1,
                                  SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT, SIGCHLD};

}  // namespace

bool is_passed_on(const sys::ArrivedSignal& signal, bool in_our_group) {
  // Our own child's changes, and the end of our own stop, are no messages to the program.
  if (signal.number == SIGCHLD || signal.number == SIGCONT) return false;
  return !(signal.from_kernel && in_our_group);
}

Foreground::Foreground() : signals_(sys::receive_signals(kPassedOn)) {}

sys::ChildChange Foreground::follow(HostPid root, int pidfd) {
  pass_signals_on(root, pidfd, true);
  const std::array watched = {signals_.get(), pidfd};
  for (;;) {
    if (const auto change = sys::next_change(pidfd)) {
      using What = sys::ChildChange::What;
      if (change->what == What::exited || change->what == What::killed) return *change;
      stopped_ = change->what == What::stopped;
      if (stopped_) sys::stop_ourselves();  // the shell must see us stopped, as it would see the program
      continue;
    }
    // We were continued. "fg" continues a whole group, so a program in ours goes on by itself; another must be told.
    if (stopped_) sys::signal_by_pidfd(pidfd, SIGCONT);
    stopped_ = false;
    sys::wait_any_readable(watched);
    pass_signals_on(root, pidfd, false);
  }
}

void Foreground::forget_terminal() {
  std::vector<int> kept;
  while (const auto signal = sys::next_signal(signals_.get()))
    if (!signal->from_kernel && signal->number != SIGCHLD) kept.push_back(signal->number);
  for (const int number : kept) ::raise(number);
}

// before_it_ran: a Ctrl-C during the restore came when the program was not yet there to get it from the terminal.
void Foreground::pass_signals_on(HostPid root, int pidfd, bool before_it_ran) {
  while (const auto signal = sys::next_signal(signals_.get())) {
    const bool in_our_group = !before_it_ran && sys::group_of(root.get()) == sys::group_of(0);
    if (!is_passed_on(*signal, in_our_group)) continue;
    log::debug("restore", "passing signal {} on", signal->number);
    sys::signal_by_pidfd(pidfd, signal->number);
  }
}

}  // namespace mcr::cli
