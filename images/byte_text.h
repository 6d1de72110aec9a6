// Bytes that a program chose, for people and for scripts. Pure; callable from any thread.
#pragma once

#include <string>
#include <string_view>

namespace mcr::images {

// Printable UTF-8 stays as it is. Every other byte becomes \xNN and a backslash becomes two, so that different bytes
// never look the same; the result is UTF-8 and does not move the cursor of a terminal.
std::string escaped(std::string_view bytes);
std::string hexadecimal(std::string_view bytes);  // two digits a byte

}  // namespace mcr::images
