// What a restore of sockets needs beyond the rights of an ordinary user: told before anything is created.
#pragma once

#include <vector>

#include "core/kinds/opened_files.h"

namespace mcr::kinds {

// Appends what this process (capabilities(7)) may not do. Asks the kernel with sockets that are given up again at once,
// and only where a right is missing that could matter. Throws Error (system) when it has no descriptors left.
void check_socket_rights(const OpenedFiles& table, std::vector<Problem>& problems);

}  // namespace mcr::kinds
