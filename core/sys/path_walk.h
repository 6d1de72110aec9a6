// Opening what a path led to at another time, when it had no symbolic link in it. Links that lie on the way now are
// followed when they belong to root or to the caller, who may have moved things; anybody else could lead the caller to
// files that he himself may not open (the same thought as fs.protected_symlinks, proc(5)). Any thread.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>

#include "core/base/unique_fd.h"

namespace mcr::sys {

// `path` is absolute; flags of open(2), none that makes a file. O_CLOEXEC is added. With O_NOFOLLOW the last name is
// not followed. Costs one call where there is no link (openat2(2), 5.6). Throws Error; Fault::refused for a link of
// somebody else.
UniqueFd open_path(const std::string& path, int flags);
// nullopt when there is nothing (ENOENT, ENOTDIR), or a folder on the way may not be searched (EACCES).
std::optional<UniqueFd> try_open_path(const std::string& path, int flags);

}  // namespace mcr::sys
