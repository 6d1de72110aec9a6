// Which process is a job's program. A pid alone is never trusted: it names another process one day.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/ids.h"
#include "core/base/unique_fd.h"
#include "core/jobs/proto/job.pb.h"

namespace mcr::jobs {

std::string boot_id();
std::optional<uint64_t> start_time_of(HostPid pid);  // nullopt: it is gone

void note_program(job::State& state, HostPid pid);  // pid, start time, boot, host
void forget_program(job::State& state);

// The process that the state names, opened, if it is still that one and has not ended; nullopt otherwise. Whatever is
// sent to the pidfd reaches it or nobody.
std::optional<UniqueFd> open_program(const job::State& state);

// Of the process that the state names, when it is a zombie: as wait(2) gives it. nullopt: it is none, or not to be
// seen.
std::optional<int> zombie_status(const job::State& state);

// Whether the environment that the program of a process was begun with has a variable "NAME=...", given with its "=".
bool has_variable(HostPid pid, const std::string& beginning);
// By the mark that the environment of the program was given at its start, and has in its images: processes of it that
// live and have no marked parent.
std::vector<HostPid> marked_processes(const std::string& token);
// For the moment between the restore of a program and the writing of its pid: the one of them that has begun at this
// time (field 22 of /proc/PID/stat) or later. nullopt: there is none, or not exactly one.
std::optional<HostPid> find_marked(const std::string& token, uint64_t not_before);
uint64_t start_time_now();
std::string mark_of(const std::string& token);  // "MINI_CRIU_TOKEN=..."

}  // namespace mcr::jobs
