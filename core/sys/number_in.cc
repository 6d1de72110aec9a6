#include "core/sys/number_in.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace mcr::sys {

unsigned long number_in(const char* path, const char* name, int base) {
  char text[4096];
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t n = fd < 0 ? -1 : ::read(fd, text, sizeof text - 1);
  if (fd >= 0) ::close(fd);
  if (n <= 0) return 0;
  text[n] = '\0';
  const char* found = std::strstr(text, name);
  return found ? std::strtoul(found + std::strlen(name), nullptr, base) : 0;
}

unsigned long pid_of(int pidfd) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
  const unsigned long pid = number_in(path, "\nPid:", 10);
  return pid > 0x7fffffff ? 0 : pid;  // -1: it is gone
}

}  // namespace mcr::sys
