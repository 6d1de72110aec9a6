#include "core/kinds/host_sockets.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/netlink.h>
#include <netinet/in.h>

#include "core/base/error.h"
#include "core/sys/netlink.h"

namespace mcr::kinds {
namespace {

constexpr uint16_t kByFamily = 20;  // SOCK_DIAG_BY_FAMILY

std::string describe(const std::string& address, uint16_t port) {
  char shown[INET6_ADDRSTRLEN] = "?";
  const bool is_v4 = address.size() == sizeof(in_addr);
  ::inet_ntop(is_v4 ? AF_INET : AF_INET6, address.data(), shown, sizeof shown);
  return is_v4 ? fmt::format("{}:{}", shown, port) : fmt::format("[{}]:{}", shown, port);
}

// nullopt: this kernel does not list them.
std::optional<std::set<uint16_t>> list_datagram_ports(int protocol) {
  std::set<uint16_t> ports;
  try {
    for (const int domain : {AF_INET, AF_INET6})  // one of IPv6 may have a port of IPv4 as well
      for (const auto& message :
           sys::netlink_dump(NETLINK_SOCK_DIAG, kByFamily, procfs::inet_diag_request(domain, protocol)))
        if (const auto socket = procfs::parse_inet_diag(message, protocol)) ports.insert(socket->local_port);
  } catch (const Error&) {
    return std::nullopt;
  }
  return ports;
}

}  // namespace

void HostSockets::forget() {
  tcp_.clear();
  unix_.reset();
  datagram_ports_.clear();
}

const HostSockets::TcpByAddress& HostSockets::tcp(int domain) {
  const auto [entry, is_new] = tcp_.try_emplace(domain);
  if (!is_new) return entry->second;
  for (const auto& message :
       sys::netlink_dump(NETLINK_SOCK_DIAG, kByFamily, procfs::inet_diag_request(domain, IPPROTO_TCP))) {
    const auto socket = procfs::parse_inet_diag(message, IPPROTO_TCP);
    if (!socket || socket->inode == 0) continue;
    entry->second.emplace(describe(socket->local, socket->local_port),
                          Tcp{socket->inode, socket->state, describe(socket->remote, socket->remote_port)});
  }
  return entry->second;
}

bool HostSockets::may_have_datagram_port(int protocol, uint16_t port) {
  const auto [entry, is_new] = datagram_ports_.try_emplace(protocol);
  if (is_new) entry->second = list_datagram_ports(protocol);
  return !entry->second || entry->second->contains(port);
}

const std::vector<procfs::UnixSocket>& HostSockets::unix_sockets() {
  if (unix_) return *unix_;
  unix_.emplace();
  for (const auto& message : sys::netlink_dump(NETLINK_SOCK_DIAG, kByFamily, procfs::unix_diag_request()))
    if (auto socket = procfs::parse_unix_diag(message)) unix_->push_back(std::move(*socket));
  return *unix_;
}

}  // namespace mcr::kinds
