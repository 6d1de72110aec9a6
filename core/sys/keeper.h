// Stands by while the last thing happens to a program that has TCP connections. Should we die in between, and the
// program with us, it closes the connections without a word to the other ends: the next restore then goes on with them.
#pragma once

#include <sys/types.h>

#include <span>

#include "core/base/unique_fd.h"

namespace mcr::sys {

class SocketKeeper {
 public:
  // sockets: of the connections; pidfd: of the program's first process. Both are needed during the call only.
  SocketKeeper(std::span<const int> sockets, int pidfd);
  ~SocketKeeper();  // without release(): it looks for itself whether the program lives
  SocketKeeper(const SocketKeeper&) = delete;
  SocketKeeper& operator=(const SocketKeeper&) = delete;

  void release();  // all is well: it ends, and does nothing

 private:
  UniqueFd line_;
  pid_t pid_ = -1;
};

}  // namespace mcr::sys
