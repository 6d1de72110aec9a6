#include "core/sys/inotify_file.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <cstring>

#include "core/sys/failure.h"

namespace mcr::sys {
UniqueFd make_inotify() {
  return UniqueFd(check(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK), "inotify_init1"));
}
int watch_path(int inotify, const std::string& path, uint32_t mask) {
  return check(::inotify_add_watch(inotify, path.c_str(), mask), "inotify_add_watch " + path);
}
void unwatch_path(int inotify, int wd) {
  check(::inotify_rm_watch(inotify, wd), fmt::format("inotify_rm_watch {}", wd));
}

std::vector<PathEvent> take_path_events(int inotify) {
  std::vector<PathEvent> events;
  alignas(inotify_event) char buffer[1 << 14];
  while (true) {
    const ssize_t got = ::read(inotify, buffer, sizeof buffer);
    if (got < 0 && errno == EAGAIN) return events;
    check(got, "read from an inotify");
    for (size_t at = 0; at + sizeof(inotify_event) <= static_cast<size_t>(got);) {
      inotify_event event;
      std::memcpy(&event, buffer + at, sizeof event);
      events.push_back({event.wd, event.mask});
      at += sizeof event + event.len;
    }
  }
}

}  // namespace mcr::sys
