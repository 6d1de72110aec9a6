// Stands by while the last thing happens to a program that has TCP connections. Should we die in between, and the
// program with us, it closes the connections without a word to the other ends: the next restore then goes on with them.
// Should the program live, it does what is left of our part.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "core/base/unique_fd.h"

namespace mcr::sys {

// What the packet filter is told then, and by which netlink socket (-1: nothing).
struct KeptNetwork {
  int socket = -1;
  std::vector<std::string> when_ended, when_alive;  // batches; their answers do not matter
  std::vector<int> woken;                           // connections that speak to their other ends when it lives
};

// Of a TCP connection: lets it ask the other end whether it is there (TCP_REPAIR_OFF); its options stay.
void wake_connection(int fd);

class SocketKeeper {
 public:
  // sockets: of the connections; pidfd: of the program's first process. All is needed during the call only.
  SocketKeeper(std::span<const int> sockets, int pidfd, const KeptNetwork& network = {});
  ~SocketKeeper();  // without release(): it looks for itself whether the program lives
  SocketKeeper(const SocketKeeper&) = delete;
  SocketKeeper& operator=(const SocketKeeper&) = delete;

  void tell_alive();  // from now on our death does not end the program
  void release();     // all is well: it ends, and does nothing

 private:
  UniqueFd line_;
  pid_t pid_ = -1;
};

}  // namespace mcr::sys
