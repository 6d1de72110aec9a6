// Text as a JSON string. Pure; callable from any thread.
#pragma once

#include <string>
#include <string_view>

namespace mcr::images {

// In quotes, with escapes. Bytes that are not UTF-8 (a path may hold any) become U+FFFD.
std::string quoted(std::string_view text);

}  // namespace mcr::images
