#include "core/sys/regular_file.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "core/sys/file.h"

namespace mcr::sys {

std::optional<UniqueFd> open_regular(const std::string& path) {
  int code = 0;
  const auto place = probe_open(path, O_PATH, code);
  return place ? reopen_regular(place->get()) : std::nullopt;
}

std::optional<UniqueFd> reopen_regular(int place) {
  int code = 0;
  if (!S_ISREG(stat_fd(place).st_mode)) return std::nullopt;
  return probe_open(fmt::format("/proc/self/fd/{}", place), O_RDONLY | O_NONBLOCK | O_NOCTTY, code);
}

}  // namespace mcr::sys
