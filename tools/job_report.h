// Jobs in words and as JSON.
#pragma once

#include <string>
#include <vector>

#include "core/jobs/checkpoints.h"
#include "core/jobs/job_folder.h"
#include "tools/json_object.h"

namespace mcr::cli {

struct JobView {
  std::string id, folder;
  job::Config config;
  job::State state;
  bool supervised = false;  // false of a job that runs: it could not be adopted
  std::vector<jobs::StoredCheckpoint> checkpoints;
  bool gpu = false;                  // it was asked for, or its last checkpoint has something of one
  std::optional<std::string> where;  // it runs on another host
};
// Starts a supervisor where one is missing. Throws Error for a job that cannot be read.
JobView view_of(const jobs::JobFolder& job);

std::string status_text(const JobView& job);              // "running", "failed (status 3)", "killed (SEGV)", ...
std::string age_text(uint64_t then_ms, uint64_t now_ms);  // "12s", "5m", "3h", "2d"; a clock set back gives "0s"
std::string jobs_table(const std::vector<JobView>& jobs);
void put_job(JsonObject& object, const JobView& job);

std::string checkpoint_line(const jobs::JobFolder& job, const job::Outcome& outcome);
std::string checkpoint_figures(const job::Outcome& outcome);  // times and sizes as JSON, one line
std::string checkpoint_json(const char* command, const jobs::JobFolder& job, const job::Outcome& outcome);

// The Error that an outcome stands for.
[[noreturn]] void throw_outcome(const job::Outcome& outcome);

}  // namespace mcr::cli
