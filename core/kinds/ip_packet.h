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
// With the header of IP before `payload`.
std::string ip_packet(const PacketEnds& ends, int protocol, std::string_view payload);

// Over the loopback, whatever source address it has; marked so that it passes a lock (packet_lock.h). `to` is an
// address of this host. Needs CAP_NET_RAW and CAP_NET_ADMIN.
void send_packet(const PacketEnds& ends, const std::string& packet);

}  // namespace mcr::kinds
