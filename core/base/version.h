// The version of this program, as --version and every image say it.
#pragma once

namespace mcr {

inline constexpr const char* kVersion = "0.1.0";

}  // namespace mcr
