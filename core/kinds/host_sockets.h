// What sockets there are on this host, asked of the kernel (sock_diag(7)) once: each question walks through the tables
// of all sockets. Restore, before anything is created. Main thread. Throws Error.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/procfs/socket_diag.h"

namespace mcr::kinds {

class HostSockets {
 public:
  struct Tcp {
    uint64_t inode = 0;
    int state = 0;
    std::string remote;  // as describe_address() says it
  };
  using TcpByAddress = std::unordered_multimap<std::string, Tcp>;  // by the local address, in the same form

  void forget();
  const TcpByAddress& tcp(int domain);  // of those that belong to somebody
  const std::vector<procfs::UnixSocket>& unix_sockets();
  // Whether a socket of this protocol (UDP, UDP-Lite) may have this port, in host byte order; of any address. true also
  // where the kernel does not tell.
  bool may_have_datagram_port(int protocol, uint16_t port);

 private:
  std::map<int, TcpByAddress> tcp_;
  std::optional<std::vector<procfs::UnixSocket>> unix_;
  std::map<int, std::optional<std::set<uint16_t>>> datagram_ports_;  // by protocol
};

}  // namespace mcr::kinds
