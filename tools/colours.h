// Terminal colours, only where somebody sees them (https://no-color.org).
#pragma once

#include <string_view>

namespace mcr::cli {

struct Colours {
  std::string_view good, bad, weak, strong, plain;
};
Colours colours();  // of standard output; all empty where it is no terminal

}  // namespace mcr::cli
