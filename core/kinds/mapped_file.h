// The file behind a mapping, for an engine that may not follow /proc/PID/map_files: that takes CAP_CHECKPOINT_RESTORE
// (5.9) or CAP_SYS_ADMIN over the first user namespace.
#pragma once

#include "core/kinds/kind.h"

namespace mcr::kinds {

// Fills in `file.door`, by which the very file that is mapped can be opened, and `file.status`: its name, the
// executable, or a descriptor of the program, whichever is proved to be the same inode. `file.link` is what the door
// under map_files says. False when nothing is mapped there any more. Throws Error (refused) naming the missing right
// when nothing leads to the file.
bool find_mapped_file(FileView& file);

bool is_mapping_door(const std::string& door);

}  // namespace mcr::kinds
