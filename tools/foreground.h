// restore without -d: mini-criu stands in for the restored program, towards the terminal and towards its own parent.
#pragma once

#include "core/base/ids.h"
#include "core/base/unique_fd.h"
#include "core/sys/supervise.h"

namespace mcr::cli {

class Foreground {
 public:
  // From here on signals wait in a descriptor. The restored program is not affected: its mask is in its image.
  Foreground();
  // Passes signals on, stops and goes on together with the program, and returns when it has ended.
  sys::ChildChange follow(HostPid root, int pidfd);
  // What the terminal has sent so far was for another program.
  void forget_terminal();

 private:
  void pass_signals_on(HostPid root, int pidfd, bool before_it_ran);

  UniqueFd signals_;
  bool stopped_ = false;  // the program, as far as we know
};

// Whether the program must be sent what arrived here. False for what it got from the terminal itself. Pure.
bool is_passed_on(const sys::ArrivedSignal& signal, bool in_our_group);

}  // namespace mcr::cli
