// One frame in words. Bytes that the program has chosen are made harmless. Pure.
#pragma once

#include <string>

#include "core/stacks/stacks.h"

namespace mcr::stacks {

std::string function_text(const Frame& frame);      // "main+0x12", "?+0x1234", "<signal handler called>"
std::string module_text(const Frame& frame);        // " (libc.so.6)"; empty: the code is no file's
std::string python_text(const PythonFrame& frame);  // "work (/srv/work.py:12)"

}  // namespace mcr::stacks
