// In which system calls the threads of another process wait. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mcr::sys {

struct ThreadCall {
  int thread = 0;
  bool is_only = false;  // the process has no other: it may be in any call
  long number = 0;
  uint64_t arguments[6] = {};
};
// The text of /proc/PID/task/TID/syscall. False: it is not in a call, or running.
bool parse_thread_call(const std::string& text, ThreadCall& call);
// tasks: a descriptor of /proc/PID/task. Empty where there are too many, or none any more.
std::vector<ThreadCall> calls_of_threads(int tasks);

}  // namespace mcr::sys
