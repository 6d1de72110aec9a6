#include "core/kinds/address_check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/kinds/socket_options.h"
#include "core/kinds/tcp_sockets.h"
#include "core/sys/failure.h"
#include "core/sys/socket.h"

namespace mcr::kinds {
namespace {

// Binds a socket that nobody else ever sees; it is closed at once. 0, or errno.
int try_address(const image::SocketCommon& common, const std::string& local, bool foreign) {
  try {
    const UniqueFd fd = sys::make_socket({common.domain(), common.type(), common.protocol()});
    for (const int name : {SO_REUSEADDR, SO_REUSEPORT})
      sys::set_int_option(fd.get(), SOL_SOCKET, name, int_option_of(common, SOL_SOCKET, name, 0));
    if (common.domain() == AF_INET6)
      sys::set_int_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, int_option_of(common, IPPROTO_IPV6, IPV6_V6ONLY, 0));
    return try_bind_inet(fd.get(), local, foreign);
  } catch (const Error& error) {  // such sockets do not exist here
    return error.code();
  }
}

uint16_t port_of(const std::string& address) {  // sin_port and sin6_port lie at the same place
  sockaddr_in in{};
  std::memcpy(&in, address.data(), sizeof in);
  return ntohs(in.sin_port);
}

constexpr const char* kNoAddress = "give the address to an interface of this host (ip address add)";

}  // namespace

void check_address(const std::string& local, bool foreign, std::vector<Problem>& problems) {
  if (foreign || !is_inet_address(local) || is_own_address(local)) return;
  problems.push_back({describe_address(local), "is no address of this host", kNoAddress});
}

void check_datagram_port(const image::UdpSocket& socket, HostSockets& host, std::vector<Problem>& problems) {
  const image::SocketCommon& common = socket.common();
  const std::string& local = socket.local();
  // Bound to a device it is beside those of other devices, and what tries the port is bound to none.
  const auto is_device = [](const auto& o) { return o.level() == SOL_SOCKET && o.name() == SO_BINDTODEVICE; };
  if (std::ranges::any_of(common.options(), is_device)) return;
  if (!is_inet_address(local) || !host.may_have_datagram_port(common.protocol(), port_of(local))) return;
  if (try_address(common, local, socket.foreign()) != EADDRINUSE) return;
  problems.push_back(
      {describe_address(local), "another socket has it", "end the program that has it (ss -lunp names it)"});
}

}  // namespace mcr::kinds
