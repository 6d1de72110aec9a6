// The door between errno and Error. Private to core/sys, except that other folders may hand a negative result of a
// remote system call to throw_code().
#pragma once

#include <cerrno>
#include <source_location>
#include <string>

#include "core/base/error.h"

namespace mcr::sys {

std::string code_name(int code);   // "ENOENT (No such file or directory)"
std::string remedy_for(int code);  // what a user can do about it; may be empty
[[noreturn]] void throw_code(int code, const std::string& what,
                             std::source_location where = std::source_location::current());
[[noreturn]] void throw_errno(const std::string& what, std::source_location where = std::source_location::current());

template <typename T>
T check(T result, const std::string& what, std::source_location where = std::source_location::current()) {
  if (result < 0) throw_errno(what, where);
  return result;
}

}  // namespace mcr::sys
