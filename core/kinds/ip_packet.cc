#include "core/kinds/ip_packet.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <sys/socket.h>

#include <cstring>

#include "core/base/error.h"
#include "core/kinds/tcp_sockets.h"
#include "core/sys/failure.h"
#include "core/sys/socket.h"

namespace mcr::kinds {
namespace {

template <typename T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

}  // namespace

uint16_t checksum(std::string_view bytes) {
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    const auto high = static_cast<unsigned char>(bytes[i]);
    const auto low = static_cast<unsigned char>(i + 1 < bytes.size() ? bytes[i + 1] : 0);
    sum += static_cast<uint64_t>(high << 8 | low);
  }
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return htons(static_cast<uint16_t>(~sum));
}

PacketEnds packet_ends(const std::string& from, const std::string& to) {
  const std::string source = plain_end(from), target = plain_end(to);
  if (source.size() != target.size() || (source.size() != 6 && source.size() != 18))
    throw Error(Fault::internal, "a packet without addresses");
  PacketEnds ends{source.substr(0, source.size() - 2), target.substr(0, target.size() - 2), 0};
  if (to.size() == sizeof(sockaddr_in6)) std::memcpy(&ends.scope, to.data() + offsetof(sockaddr_in6, sin6_scope_id), 4);
  return ends;
}

std::string pseudo_header(const PacketEnds& ends, int protocol, size_t bytes) {
  const auto length = htonl(static_cast<uint32_t>(bytes)), number = htonl(static_cast<uint32_t>(protocol));
  return ends.from + ends.to + bytes_of(length) + bytes_of(number);  // of four bytes each the sum is the same
}

std::string ip_packet(const PacketEnds& ends, int protocol, std::string_view payload, PacketHead values) {
  if (ends.from.size() == 4) {
    iphdr head{};
    head.version = 4, head.ihl = 5, head.ttl = values.hops, head.tos = values.traffic_class,
    head.protocol = static_cast<uint8_t>(protocol);
    head.tot_len = htons(static_cast<uint16_t>(sizeof head + payload.size()));
    std::memcpy(&head.saddr, ends.from.data(), 4), std::memcpy(&head.daddr, ends.to.data(), 4);
    head.check = checksum(bytes_of(head));
    return bytes_of(head) + std::string(payload);
  }
  ip6_hdr head{};
  head.ip6_flow = htonl(6U << 28 | uint32_t{values.traffic_class} << 20);
  head.ip6_plen = htons(static_cast<uint16_t>(payload.size()));
  head.ip6_nxt = static_cast<uint8_t>(protocol), head.ip6_hlim = values.hops;
  std::memcpy(&head.ip6_src, ends.from.data(), 16), std::memcpy(&head.ip6_dst, ends.to.data(), 16);
  return bytes_of(head) + std::string(payload);
}

void send_packet(const PacketEnds& ends, const std::string& packet, uint32_t mark) {
  const bool is_six = ends.from.size() == 16;
  const UniqueFd raw = sys::make_socket({is_six ? AF_INET6 : AF_INET, SOCK_RAW, IPPROTO_RAW});
  if (mark != 0) sys::set_option(raw.get(), SOL_SOCKET, SO_MARK, bytes_of(mark));
  sys::SocketMessage message;
  message.data = packet;
  if (is_six) {
    sockaddr_in6 to{};
    to.sin6_family = AF_INET6, to.sin6_scope_id = ends.scope;
    std::memcpy(&to.sin6_addr, ends.to.data(), 16);
    message.address = bytes_of(to);
  } else {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    std::memcpy(&to.sin_addr, ends.to.data(), 4);
    message.address = bytes_of(to);
  }
  if (const int code = sys::try_send(raw.get(), message, {}); code != 0)
    sys::throw_code(code, "send a packet over the loopback");
}

}  // namespace mcr::kinds
