#include "core/sys/thread_calls.h"

#include <fcntl.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>

#include "core/base/unique_fd.h"
#include "core/sys/file.h"

namespace mcr::sys {
namespace {

constexpr size_t kMostThreads = 64;
constexpr int kLooks = 3;          // who has just begun to wait still counts as running
constexpr useconds_t kPause = 10;  // µs between them

std::vector<ThreadCall> look_once(int tasks, bool& is_any_running) {
  const auto names = try_list_directory_fd(tasks);
  if (!names || names->size() > kMostThreads) return {};
  std::vector<ThreadCall> calls;
  for (const std::string& name : *names) {
    ThreadCall call;
    if (std::sscanf(name.c_str(), "%d", &call.thread) != 1) continue;
    call.is_only = names->size() == 1;
    char text[256] = {};
    const UniqueFd file(::openat(tasks, (name + "/syscall").c_str(), O_RDONLY | O_CLOEXEC));
    const bool is_in_call =
        file.valid() && ::read(file.get(), text, sizeof text - 1) > 0 && parse_thread_call(text, call);
    is_any_running |= !is_in_call;
    if (!is_in_call && !call.is_only) continue;
    calls.push_back(call);
  }
  return calls;
}

}  // namespace

bool parse_thread_call(const std::string& text, ThreadCall& call) {
  uint64_t* a = call.arguments;
  const int found =
      std::sscanf(text.c_str(), "%ld 0x%" SCNx64 " 0x%" SCNx64 " 0x%" SCNx64 " 0x%" SCNx64 " 0x%" SCNx64 " 0x%" SCNx64,
                  &call.number, a, a + 1, a + 2, a + 3, a + 4, a + 5);
  return found == 7 && call.number >= 0;
}

std::vector<ThreadCall> calls_of_threads(int tasks) {
  std::vector<ThreadCall> calls;
  bool is_any_running = true;
  for (int i = 0; i < kLooks && is_any_running; ++i) {
    if (i > 0) ::usleep(kPause);
    is_any_running = false;
    calls = look_once(tasks, is_any_running);
    if (calls.size() == 1 && calls.front().is_only) break;
  }
  return calls;
}

}  // namespace mcr::sys
