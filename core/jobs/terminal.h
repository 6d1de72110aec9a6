// run --tty: a job's program on a pseudo-terminal. Its other end is a *keeper's*, a process of its own, which copies
// what is printed to output.log and serves those that are attached: so the death of the supervisor hangs nothing up,
// and nobody has to be there for the program to go on. The keeper ends when the terminal is nobody's any more.
#pragma once

#include <optional>
#include <string>

#include "core/base/ids.h"
#include "core/base/unique_fd.h"
#include "core/jobs/job_folder.h"
#include "core/sys/process.h"
#include "core/sys/terminal.h"

namespace mcr::jobs {

// The one of an earlier program has ended, its last words are in the log. Error(refused): it has not, for some seconds.
void wait_for_former_keeper(const JobFolder& job);
// A child of ours. The caller keeps its own copy of the master, and should close it.
HostPid start_keeper(const JobFolder& job, int master);

// For a dump: the master, which nobody reads while this lives. So what the program has printed is in the log, or in the
// terminal's queue, which is saved.
class BorrowedMaster {
 public:
  explicit BorrowedMaster(const JobFolder& job);  // Error(refused): there is no keeper
  int get() const { return master_.get(); }
  void give_back() { line_.reset(); }  // the keeper goes on; the master stays open

 private:
  UniqueFd line_, master_;
};

// Somebody who is attached. Nothing throws for what becomes of the keeper.
class AttachedTerminal {
 public:
  static std::optional<AttachedTerminal> open(const JobFolder& job);  // nullopt: there is no terminal now
  int descriptor() const { return line_.get(); }
  bool type(const std::string& bytes);           // false: it has ended
  bool set_window(const sys::WindowSize& size);  // the first time, the program is told in any case, to draw anew
  bool replay(uint64_t from);                    // before the window: what the log has from there on comes first
  std::optional<std::string> take_output();      // without waiting; nullopt: it has ended

 private:
  explicit AttachedTerminal(UniqueFd line) : line_(std::move(line)) {}
  UniqueFd line_;
};

}  // namespace mcr::jobs
