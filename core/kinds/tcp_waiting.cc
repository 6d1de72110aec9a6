#include "core/kinds/tcp_waiting.h"

#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <tuple>

#include "core/base/error.h"
#include "core/kinds/tcp_repair.h"
#include "core/sys/file.h"
#include "core/sys/netlink.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

using procfs::InetSocket;

constexpr uint16_t kByFamily = 20;  // SOCK_DIAG_BY_FAMILY
constexpr int kTries = 20;
constexpr uint32_t kStates =
    1u << tcp::kListen | 1u << tcp::kEstablished | 1u << tcp::kCloseWait | 1u << tcp::kSynReceived;
constexpr uint16_t kMostRise = 8192;  // far more than the ports of one tick, less than half of any usual range

// Of sockets with no descriptor only these are in the queue of a listener; those that were closed are in other states.
bool is_waiting(const InetSocket& socket) {
  return socket.inode == 0 && socket.state != tcp::kListen;
}

bool has_waiting(const std::vector<InetSocket>& sockets) {
  return std::ranges::any_of(sockets, is_waiting);
}

struct Snapshot {
  std::vector<InetSocket> sockets;
  bool in_one_tick = true;  // else their ages cannot be compared
};

// Ages are counted in ticks, at which the coarse clocks move too. A queue has one family, so each is read by itself.
void read_family(int family, Snapshot& snapshot) {
  std::vector<InetSocket> found;
  bool in_one_tick = false;
  for (int i = 0; i < kTries && !in_one_tick; ++i) {
    found.clear();
    const uint64_t before = sys::clock_ns(CLOCK_MONOTONIC_COARSE);
    for (const auto& message :
         sys::netlink_dump(NETLINK_SOCK_DIAG, kByFamily, procfs::tcp_diag_request(family, kStates)))
      if (auto socket = procfs::parse_inet_diag(message, IPPROTO_TCP)) found.push_back(std::move(*socket));
    in_one_tick = sys::clock_ns(CLOCK_MONOTONIC_COARSE) == before || !has_waiting(found);
  }
  snapshot.in_one_tick &= in_one_tick;
  std::ranges::move(found, std::back_inserter(snapshot.sockets));
}

Snapshot read_sockets() {
  Snapshot snapshot;
  for (const int family : {AF_INET, AF_INET6}) read_family(family, snapshot);
  return snapshot;
}

// How well a listener suits a connection (inet_lhash2_lookup, net/ipv4/inet_hashtables.c); 0: not at all.
int suits(const InetSocket& listener, const InetSocket& end) {
  if (listener.family != end.family || listener.local_port != end.local_port) return 0;
  if (listener.device != 0 && listener.device != end.device) return 0;
  const bool any = listener.local.find_first_not_of('\0') == std::string::npos;
  if (!any && listener.local != end.local) return 0;
  return 1 + (any ? 0 : 2) + (listener.device != 0 ? 1 : 0);
}

// It counts the end of the client as one more.
uint32_t bytes_of(const InetSocket& end) {
  const uint32_t fin = end.state == tcp::kCloseWait ? 1 : 0;
  return end.receive_queue > fin ? end.receive_queue - fin : 0;
}

uint16_t port_of(const WaitingConnection& one) {
  return one.end.remote_port;
}

// Ports that connect(2) has chosen rise; at the end of the range they begin anew.
void order_by_ports(std::vector<WaitingConnection>::iterator first, std::vector<WaitingConnection>::iterator last) {
  std::sort(first, last, [](const auto& a, const auto& b) { return port_of(a) < port_of(b); });
  const int span = port_of(*std::prev(last)) - port_of(*first);
  if (span <= kMostRise) return;
  auto cut = std::next(first);
  for (auto at = cut; at != last; ++at)
    if (port_of(*at) - port_of(*std::prev(at)) > port_of(*cut) - port_of(*std::prev(cut))) cut = at;
  std::rotate(first, cut, last);
}

bool was_chosen(uint16_t port, uint16_t first_port) {
  return port >= first_port && port % 2 == first_port % 2;
}

// By time, then by port. Its clock is that of the queue: a socket that was never accepted has sent nothing.
void put_in_order(AcceptQueue& queue, uint16_t first_port) {
  auto& all = queue.connections;
  const auto key = [](const WaitingConnection& one) {
    return std::tuple(one.half_open, ~one.end.sent_ago.value_or(0), one.client);
  };
  std::sort(all.begin(), all.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  for (auto first = all.begin(); first != all.end();) {
    const auto last = std::find_if(first, all.end(), [&](const WaitingConnection& one) {
      return one.half_open != first->half_open || one.end.sent_ago != first->end.sent_ago;
    });
    if (std::distance(first, last) > 1) {
      if (std::all_of(first, last, [&](const auto& one) { return was_chosen(port_of(one), first_port); }))
        order_by_ports(first, last);
      else if (!first->half_open)
        queue.is_order_known = false;
    }
    first = last;
  }
}

bool are_same(const std::vector<InetSocket>& a, const std::vector<InetSocket>& b) {
  return std::ranges::equal(a, b, [](const InetSocket& x, const InetSocket& y) {
    const auto key = [](const InetSocket& s) {
      return std::tie(s.inode, s.state, s.remote_port, s.receive_queue, s.remote);
    };
    return key(x) == key(y);
  });
}

}  // namespace

AcceptQueues sort_accept_queues(const std::vector<InetSocket>& sockets, uint16_t first_port) {
  AcceptQueues queues;
  std::multimap<uint16_t, const InetSocket*> listeners;
  for (const InetSocket& socket : sockets)
    if (socket.state == tcp::kListen) {
      listeners.emplace(socket.local_port, &socket);
      queues[socket.inode].unseen = socket.receive_queue;
    }
  for (const InetSocket& end : sockets) {
    if (!is_waiting(end)) continue;
    std::vector<const InetSocket*> best;
    const auto [first, last] = listeners.equal_range(end.local_port);
    for (auto at = first; at != last; ++at) {
      const int how = suits(*at->second, end), before = best.empty() ? 1 : suits(*best.front(), end);
      if (how > before) best.clear();
      if (how >= before) best.push_back(at->second);
    }
    const bool half_open = end.state == tcp::kSynReceived;
    for (const InetSocket* listener : best) {
      AcceptQueue& queue = queues[listener->inode];
      queue.is_shared |= best.size() > 1;
      queue.connections.push_back({end, 0, bytes_of(end), half_open});
      if (!half_open && queue.unseen > 0) --queue.unseen;
    }
  }
  for (auto& [inode, queue] : queues) put_in_order(queue, first_port);
  return queues;
}

AcceptQueues read_accept_queues(const std::function<bool(uint64_t)>& is_ours,
                                const std::function<uint64_t(const InetSocket&)>& client_of) {
  Snapshot snapshot = read_sockets();
  bool is_moving = false;
  if (has_waiting(snapshot.sockets)) {
    Snapshot again = read_sockets();
    is_moving = !are_same(snapshot.sockets, again.sockets);
    snapshot = std::move(again);
  }
  AcceptQueues queues = sort_accept_queues(snapshot.sockets, first_local_port());
  std::erase_if(queues, [&](const auto& entry) { return !is_ours(entry.first); });
  for (auto& [inode, queue] : queues) {
    queue.is_moving = is_moving;
    if (!snapshot.in_one_tick && queue.connections.size() > 1) queue.is_order_known = false;
    for (WaitingConnection& one : queue.connections) one.client = client_of(one.end);
    // The client sends its word again: nobody has waited yet.
    std::erase_if(queue.connections, [](const auto& one) { return one.half_open && one.client == 0; });
  }
  return queues;
}

std::optional<std::string> why_lost(const AcceptQueue& queue, const WaitingConnection& connection) {
  if (connection.client == 0)
    return connection.end.state == tcp::kCloseWait ? "its other end is closed, or outside of the tree"
                                                   : "its other end is outside of the tree";
  if (queue.is_shared) return "several sockets listen there (SO_REUSEPORT): in whose queue it is cannot be seen";
  if (const uint32_t n = connection.bytes; n > 0)
    return fmt::format("{} byte{} wait{} in it, which cannot be read before", n, n == 1 ? "" : "s", n == 1 ? "s" : "");
  return std::nullopt;
}

bool is_order_of_ports(const std::vector<uint16_t>& ports, uint16_t first_port) {
  return std::ranges::all_of(ports, [&](uint16_t port) { return was_chosen(port, first_port); }) &&
         std::ranges::is_sorted(ports) && (ports.empty() || ports.back() - ports.front() <= kMostRise);
}

uint16_t first_local_port() {
  const auto range = sys::try_read_text("/proc/sys/net/ipv4/ip_local_port_range");
  return range ? static_cast<uint16_t>(std::strtoul(range->c_str(), nullptr, 10)) : 0;
}

}  // namespace mcr::kinds
