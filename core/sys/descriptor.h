// Attributes of open files. Throws Error unless said otherwise. Any thread.
#pragma once

#include <cstdint>
#include <string>

#include "core/base/unique_fd.h"

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
// Extended attributes without a value, as marks (xattr(7)). try_set: false where the file system has none.
bool try_set_attribute(int fd, const char* name);
bool has_attribute(const std::string& path, const char* name);  // of the file itself, no link is followed
void remove_attribute(int fd, const char* name);
bool can_be_polled(int fd);  // whether poll(2) may have to wait for it; false for regular files
void link_open_file(int fd, const std::string& path);  // gives an O_TMPFILE file a name; it must be free

}  // namespace mcr::sys
