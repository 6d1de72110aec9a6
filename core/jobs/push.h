// run --push: a command that a checkpoint is handed to, to bring it elsewhere. It runs beside the job, as its user,
// with the environment of the program, and is ended when its time is over.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/ids.h"
#include "core/base/unique_fd.h"
#include "core/jobs/job_folder.h"
#include "core/sys/process.h"

namespace mcr::jobs {

// "{}" stands for the folder, which comes last where there is none. Pure.
std::vector<std::string> push_command(const job::Config& config, const std::string& folder);

// Whether a process has its environment from such a command, as a daemon has that one has left behind.
bool was_started_by_push(HostPid pid);

class Push {
 public:
  // Throws Error when no process can be made. What it prints goes to push.log, anew each time.
  Push(const JobFolder& job, const job::Config& config, uint32_t number);
  uint32_t number() const { return number_; }
  HostPid pid() const { return pid_; }  // the leader of a session of its own
  int end() const { return pidfd_.get(); }
  sys::Clock::time_point deadline() const { return deadline_; }
  bool is_late() const { return late_; }
  void kill();  // with what it has started in its group; it has some seconds more then
  // When it has ended: why that was no success. Empty: it was one.
  std::string take_failure();

 private:
  uint32_t number_;
  HostPid pid_;
  UniqueFd pidfd_;
  sys::Clock::time_point deadline_;
  bool late_ = false;
  uint64_t limit_ms_;
};

}  // namespace mcr::jobs
