// For processes that stand by and must not allocate.
#pragma once

namespace mcr::sys {

// The number that follows `name` in the text of a small file (as those of /proc), in this base; 0: there is none.
unsigned long number_in(const char* path, const char* name, int base);
// Of a pidfd: the process; 0: it has been collected.
unsigned long pid_of(int pidfd);

}  // namespace mcr::sys
