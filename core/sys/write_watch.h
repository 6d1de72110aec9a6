// A userfaultfd(2) that lets the kernel note which pages of a program are written, without a fault that anybody would
// have to answer (UFFD_FEATURE_WP_ASYNC, 6.7). It belongs to the memory of the process that made it; whoever holds the
// descriptor may use it. With its last descriptor all that it watched is let go. Any thread.
#pragma once

#include <cstdint>

namespace mcr::sys {

// What the program is to call userfaultfd(2) with: faults of the kernel resolve themselves here, so that no right is
// needed (UFFD_USER_MODE_ONLY, 5.11).
uint64_t write_watch_flags();
// Agrees on asynchronous write protection. False: the kernel has none (before 6.7).
bool try_enable_write_watch(int fd);
// Whether this kernel has all of it, and tells rightly what was written: tried once, on memory of our own. (6.13 and
// 6.14 do not tell guard pages from swapped ones.)
bool can_watch_writes();
// Watches the mappings in [start, end), gaps allowed; watched ones stay as they are. 0, or errno: EBUSY another
// userfaultfd has them, ESRCH the memory is gone (exit, execve).
int try_watch(int fd, uint64_t start, uint64_t end);

}  // namespace mcr::sys
