// Packets of IPv4 and IPv6 made by hand. Pure, but for send_packet.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mcr::kinds {

// RFC 1071, in the byte order of the packet.
uint16_t checksum(std::string_view bytes);

// The source and the destination of a packet: struct sockaddr_in or sockaddr_in6, IPv4 where they say so.
struct PacketEnds {
  std::string from, to;  // address bytes, 4 or 16 of both
  uint32_t scope = 0;    // of a link-local `to`
};
// from, to: of one family.
PacketEnds packet_ends(const std::string& from, const std::string& to);
// What precedes a header of TCP or UDP when its checksum is computed (RFC 793, RFC 8200).
std::string pseudo_header(const PacketEnds& ends, int protocol, size_t bytes);
struct PacketHead {
  uint8_t hops = 64, traffic_class = 0;  // TTL and TOS, of IPv4
};
// With the header of IP before `payload`.
std::string ip_packet(const PacketEnds& ends, int protocol, std::string_view payload, PacketHead values = {});

// Over the loopback, whatever source address it has. `to` is an address of this host. Needs CAP_NET_RAW. `mark`: that
// of packets that pass a lock (packet_lock.h), which needs CAP_NET_ADMIN too; 0: none.
void send_packet(const PacketEnds& ends, const std::string& packet, uint32_t mark);

}  // namespace mcr::kinds
