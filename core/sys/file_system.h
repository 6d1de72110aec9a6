// What a file system says of itself. Throws Error. Any thread.
#pragma once

#include <cstdint>

namespace mcr::sys {

uint64_t free_bytes(int fd);  // that this user may still write where the file lies

}  // namespace mcr::sys
