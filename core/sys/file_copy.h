// The content of files copied by the kernel. Throws Error. Any thread.
#pragma once

#include <cstdint>

namespace mcr::sys {

// `to` has the content of `from` afterwards, and its size: blocks shared where the file system can
// (copy_file_range(2)), holes kept. `from` is an open file of our own: its position changes.
void copy_content(int from, int to);

}  // namespace mcr::sys
