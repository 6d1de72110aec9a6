// Files of ELF objects, and those that lie in the debug folders. They belong to a program's user. Any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/stacks/elf_headers.h"

namespace mcr::stacks {

// DIR/.build-id/ab/cdef..., with this ending, of the first folder that has it and whose content has that build-id, in
// hexadecimal. An invalid descriptor: there is none.
UniqueFd open_by_build_id(const std::vector<std::string>& folders, const std::string& build_id,
                          const std::string& ending);
ReadBytes bytes_of_file(int fd);  // the descriptor outlives what is returned
std::string build_id_of(int fd);  // empty: none

}  // namespace mcr::stacks
