// Opening files that belong to a program's user, or that an image names: of regular files only, since to open anything
// else may wait, or do something. Any thread.
#pragma once

#include <optional>
#include <string>

#include "core/base/unique_fd.h"

namespace mcr::sys {

// For reading. nullopt: it cannot be had, or is no regular file.
std::optional<UniqueFd> open_regular(const std::string& path);
std::optional<UniqueFd> reopen_regular(int place);  // the same of an O_PATH descriptor

}  // namespace mcr::sys
