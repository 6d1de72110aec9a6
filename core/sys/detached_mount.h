// Mounts that stand in no folder (fsopen(2), fsmount(2), 5.2): seen by nobody else, gone with their descriptor.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "core/base/unique_fd.h"

namespace mcr::sys {

struct MountOption {
  std::string key;
  std::optional<std::string> value;  // none: a flag
};

// A descriptor of its root (O_PATH). Needs CAP_SYS_ADMIN. Waits up to a second for a file system of the same name that
// is going away at this moment. Throws Error.
UniqueFd mount_detached(const std::string& type, std::span<const MountOption> options);

}  // namespace mcr::sys
