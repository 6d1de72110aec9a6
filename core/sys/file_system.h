// What a file system says of itself, and the removal of whole folders. Throws Error. Any thread.
#pragma once

#include <cstdint>
#include <string>

namespace mcr::sys {

uint64_t free_bytes(int fd);  // that this user may still write where the file lies
// With all that is in it; symbolic links are removed and not followed. Nothing where it is not there.
void remove_tree(const std::string& path);

}  // namespace mcr::sys
