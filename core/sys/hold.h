// Files that one process at a time holds. Held through the open file (F_OFD_SETLK, 3.15): children that inherit it hold
// it too, the kernel lets go of it when the last of them has ended, and one may ask without taking. Any thread.
#pragma once

namespace mcr::sys {

bool try_hold(int fd);  // open for writing; false: somebody else holds it
bool is_held(int fd);   // by somebody else

}  // namespace mcr::sys
