// Attributes of open files. Throws Error unless said otherwise. Any thread.
#pragma once

#include <cstdint>

namespace mcr::sys {

struct FileOwner {  // who gets SIGIO: F_GETOWN_EX, F_GETSIG (fcntl(2))
  int type = 0;     // F_OWNER_*; meaningless when pid is 0
  int pid = 0;
  int signal = 0;
};
FileOwner get_owner(int fd);
void set_owner_signal(int fd, int signal);
void set_ownership(int fd, uint32_t uid, uint32_t gid);
void set_mode(int fd, uint32_t mode);
void set_modification_time(int fd, int64_t ns);

}  // namespace mcr::sys
