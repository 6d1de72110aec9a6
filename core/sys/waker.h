// A process that stands by while others have a SIGSTOP waiting for them: should we be killed, it continues them, but
// not before those children of ours have ended that were made meanwhile (sys::run_apart).
#pragma once

#include <sys/types.h>

#include <span>

#include "core/base/ids.h"
#include "core/base/unique_fd.h"

namespace mcr::sys {

bool try_stop_thread(HostPid pid, HostTid tid);  // SIGSTOP to this thread (tgkill(2)); false: there is none

class Waker {
 public:
  // pidfds: of the processes; they need to be open during the call only. Main thread.
  explicit Waker(std::span<const int> pidfds);
  ~Waker();  // without release(): continues them
  Waker(const Waker&) = delete;
  Waker& operator=(const Waker&) = delete;

  void release();  // nothing waits for them any more; never throws

 private:
  UniqueFd line_;
  pid_t pid_ = -1;
};

}  // namespace mcr::sys
