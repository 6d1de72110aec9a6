// Opening files that belong to a program's user. Any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/stacks/elf_headers.h"

namespace mcr::stacks {

// For reading; of regular files only: to open anything else may wait, or do something. nullopt: it cannot be had.
std::optional<UniqueFd> open_regular(const std::string& path);
std::optional<UniqueFd> reopen_regular(int place);  // the same of an O_PATH descriptor

// DIR/.build-id/ab/cdef..., with this ending, of the first folder that has it and whose content has that build-id, in
// hexadecimal. An invalid descriptor: there is none.
UniqueFd open_by_build_id(const std::vector<std::string>& folders, const std::string& build_id,
                          const std::string& ending);
ReadBytes bytes_of_file(int fd);  // the descriptor outlives what is returned
std::string build_id_of(int fd);  // empty: none

}  // namespace mcr::stacks
