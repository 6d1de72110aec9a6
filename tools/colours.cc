#include "tools/colours.h"

#include <cstdlib>

#include "core/sys/file.h"

namespace mcr::cli {

Colours colours() {
  const char* unwanted = std::getenv("NO_COLOR");
  if (!sys::is_terminal(1) || (unwanted && *unwanted)) return {};
  return {"\033[32m", "\033[31m", "\033[33m", "\033[1m", "\033[0m"};
}

}  // namespace mcr::cli
