// inotify(7). Throws Error unless said otherwise. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/unique_fd.h"

namespace mcr::sys {

UniqueFd make_inotify();
int watch_path(int inotify, const std::string& path, uint32_t mask);  // the number of the watch; follows links
void unwatch_path(int inotify, int wd);
struct PathEvent {
  int wd = 0;
  uint32_t mask = 0;
};
std::vector<PathEvent> take_path_events(int inotify);  // all that wait

}  // namespace mcr::sys
