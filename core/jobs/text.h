// Text for protobuf's strings and for JSON, which have to be UTF-8; paths and messages of programs may be anything.
// Pure.
#pragma once

#include <string>
#include <string_view>

namespace mcr::jobs {

bool is_utf8(std::string_view text);           // as RFC 3629 has it: nothing overlong, no surrogates
std::string as_utf8(std::string_view text);    // what is none of it as \xNN
std::string for_shell(std::string_view word);  // in quotes, for sh(1)

}  // namespace mcr::jobs
