// What is said between the keeper of a job's terminal and those who connect to it. The first byte of a message says
// what it is; the keeper's own are output, or the answer to kBorrow with the master. Private to core/jobs.
#pragma once

#include <cstddef>

#include "core/base/unique_fd.h"
#include "core/jobs/job_folder.h"

namespace mcr::jobs {

inline constexpr char kTerminalSocket[] = "terminal";
inline constexpr char kInput = 'i';   // what is typed
inline constexpr char kWindow = 'w';  // sys::WindowSize; whoever sends it is attached from then on
inline constexpr char kReplay = 'r';  // uint64_t: output.log from there on, and then what comes; attached, too
inline constexpr char kBorrow = 'b';  // stop reading, and give me the master; until the line is hung up
inline constexpr size_t kMostTerminalBytes = 16384;
inline constexpr int kPatienceMs = 10'000;

UniqueFd keeper_lock(const JobFolder& job);  // opened, not taken; a keeper holds it
// The keeper's life. In a process of its own, which holds the lock.
int keep_terminal(const JobFolder& job, int master);

}  // namespace mcr::jobs
