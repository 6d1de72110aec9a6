// Dump: TCP connections that are open for the client and that no program has accepted yet (sock_diag(7)). Their second
// ends are in the queue of a listener, and no descriptor leads to them: what they have received cannot be read before
// they are accepted, and what is accepted cannot be given back.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/procfs/socket_diag.h"

namespace mcr::kinds {

struct WaitingConnection {
  procfs::InetSocket end;  // the one that is not accepted
  uint64_t client = 0;     // inode of the other end; 0: the tree does not have it
  uint32_t bytes = 0;      // that it has received
  bool half_open = false;  // open for the client, but not in the queue yet (TCP_SYN_RECV)
};

struct AcceptQueue {
  std::vector<WaitingConnection> connections;  // in their order, the half-open ones last
  uint32_t unseen = 0;                         // connections that the kernel counts and does not show: they were reset
  bool is_shared = false;      // others listen there too: it cannot be seen in whose queue a connection is
  bool is_moving = false;      // it has changed while it was read
  bool is_order_known = true;  // false: the order is a guess
};

using AcceptQueues = std::map<uint64_t, AcceptQueue>;  // by inode of the listener

// client_of: the inode of the other end of this one, 0 when the tree does not have it.
AcceptQueues read_accept_queues(const std::function<bool(uint64_t)>& is_ours,
                                const std::function<uint64_t(const procfs::InetSocket&)>& client_of);
// Why it cannot be saved; nullopt: it can.
std::optional<std::string> why_lost(const AcceptQueue& queue, const WaitingConnection& connection);

// Pure. sockets: listeners, and what may wait at them; first_port: of the range from which the kernel takes ports
// (ip_local_port_range, ip(7)).
AcceptQueues sort_accept_queues(const std::vector<procfs::InetSocket>& sockets, uint16_t first_port);
// Whether clients with these ports, who have come within one tick of the kernel's clock, are found in this order again.
bool is_order_of_ports(const std::vector<uint16_t>& ports, uint16_t first_port);
uint16_t first_local_port();

}  // namespace mcr::kinds
