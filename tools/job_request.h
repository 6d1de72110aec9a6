// What the commands about jobs are asked to do. Throws Error(usage).
#pragma once

#include <string>

#include "core/jobs/job_folder.h"
#include "tools/command_line.h"

namespace mcr::cli {

// Options of other commands are refused here: to leave one aside would mislead ("run --leave-running").
void refuse_foreign_options(const CommandLine& line);
jobs::JobsFolder jobs_folder(const CommandLine& line);
jobs::JobFolder job_operand(const CommandLine& line);  // the one operand, a job that exists

std::string detach_keys(const CommandLine& line);
void check_job_id(const std::string& id);      // of --id
job::Config new_job(const CommandLine& line);  // of run
// Of resume: what was given replaces what the job had. Whether there was anything.
bool change_job(const CommandLine& line, job::Config& config);

}  // namespace mcr::cli
