// Standing in for a job at a terminal, or towards a batch system: its output as it comes, signals passed on, its end.
#pragma once

#include <optional>
#include <string>

#include "core/jobs/job_folder.h"
#include "tools/attach.h"

namespace mcr::cli {

// Prints the log of a job to standard output, as far as it has come, and what comes after.
class LogPrinter {
 public:
  explicit LogPrinter(const jobs::JobFolder& job, uint64_t from = 0) : job_(job), at_(from) {}
  void print_new();                           // after a resume the log may be shorter than it was: goes on at its end
  bool is_unread() const { return unread_; }  // nobody reads standard output any more

 private:
  const jobs::JobFolder job_;
  uint64_t at_;
  bool unread_ = false;
};

// Until the job has ended; without its supervisor another one is started. Signals act as ever.
job::State follow_log(const jobs::JobFolder& job, LogPrinter& printer);

// The signals that are passed on wait from now on. To be called before the program is started: one that comes then
// reaches it, and does not end us alone.
UniqueFd take_signals(const job::Config& config);

void pass_signal(const jobs::JobFolder& job, int number);  // to the job's program

// run -f and resume -f: as follow_log(), and signals are passed on to the program; those of --on-signal make a
// checkpoint and stop. Returns as the program ended: its exit status, or --requeue-status; a signal that ended it ends
// this process too. signals: of take_signals().
int stand_in(const jobs::JobFolder& job, LogPrinter& printer, int signals);

// The same at the terminal of a job that has one, and attach, until the keys are typed that leave it.
int sit_in(const jobs::JobFolder& job, const Seat& seat);

}  // namespace mcr::cli
