// A dump or a restore by a process of its own: a child that a job's supervisor makes of itself. What becomes of the
// engine there, a crash among it, costs the job nothing: a program survives its engine at every moment.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "core/base/ids.h"
#include "core/base/unique_fd.h"
#include "core/engine/options.h"
#include "core/jobs/job_folder.h"

namespace mcr::jobs {

class EngineCall {
 public:
  enum class What { dump, restore };
  struct Dump {
    HostPid root;
    uint32_t number = 0;
    bool stop = false;
    std::string elsewhere;  // the folder for the image; empty: a new one in the job's
    job::Line line;         // what the program has behind it
  };
  // Saves the program. config: as it is to be for this call.
  static EngineCall dump(const JobFolder& job, const job::Config& config, const Dump& what);
  // Puts files back as far as the job does that, and restores. The program becomes our child when the call has ended,
  // as we are its subreaper.
  static EngineCall restore(const JobFolder& job, const job::Config& config, uint32_t number,
                            engine::FileValidation validation);

  What what() const { return what_; }
  uint32_t number() const { return number_; }
  bool stops() const { return stop_; }
  HostPid pid() const { return pid_; }
  int end() const { return pidfd_.get(); }  // readable when it has ended
  void kill();
  // When it has ended. A call that died without a word is a failed one that says how it died.
  job::Outcome take_outcome();

  // A call that another supervisor has made may still go on. False: so it does after these milliseconds.
  static bool wait_for_former(const JobFolder& job, int milliseconds);

 private:
  EngineCall(What what, uint32_t number, bool stop) : what_(what), number_(number), stop_(stop) {}
  template <typename Work>
  void start(const JobFolder& job, const Work& work);

  What what_;
  uint32_t number_;
  bool stop_;
  HostPid pid_;
  UniqueFd pidfd_, result_;
};

}  // namespace mcr::jobs
