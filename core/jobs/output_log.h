// The log of what a program prints, which it writes itself: a file opened with O_APPEND, as standard output and error.
// So nobody stands between, and what becomes of the supervisor is nothing to it. Throws Error.
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/jobs/job_folder.h"

namespace mcr::jobs {

UniqueFd open_output(const JobFolder& job);  // for the program

// A stretch of output.log, or of discarded.log.
struct LogStretch {
  bool discarded = false;
  uint64_t at = 0, bytes = 0;
  bool operator==(const LogStretch&) const = default;
};
// What the log was made of when the checkpoint was taken: it may be of another line than what the log has now (`line`,
// `size`), and then the rest lies in discarded.log. Fewer bytes when that is gone. Pure.
std::vector<LogStretch> log_at_checkpoint(const job::Line& line, uint64_t size, const job::TakenBack& taken,
                                          uint32_t number, uint64_t bytes);

// The log as it was at a checkpoint: what was printed later is printed again by the program that is resumed from that
// moment. It is moved to discarded.log, and comes back unless keep() is called: nothing was resumed then.
class OutputTakenBack {
 public:
  // line: of the program that has printed the log; number: of the checkpoint, 0: the start.
  OutputTakenBack(const JobFolder& job, const job::Line& line, uint32_t number, uint64_t bytes);
  ~OutputTakenBack();
  OutputTakenBack(const OutputTakenBack&) = delete;
  OutputTakenBack& operator=(const OutputTakenBack&) = delete;
  void keep() { kept_ = true; }

 private:
  void move_tail(uint64_t from, const job::Line& line, uint32_t number);
  void undo();
  const JobFolder job_;
  UniqueFd log_, discarded_;
  job::TakenBack taken_;
  uint64_t old_size_ = 0, kept_bytes_ = 0, head_at_ = 0, tail_at_ = 0;  // of the log; in discarded.log
  bool kept_ = false;
};

}  // namespace mcr::jobs
