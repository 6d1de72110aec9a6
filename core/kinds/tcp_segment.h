// A segment of TCP made by hand, and sent over the loopback as if it came from the other end of a connection.
#pragma once

#include <cstdint>
#include <string>

namespace mcr::kinds {

// from, to: struct sockaddr_in or sockaddr_in6, of one family; `to` is an address of this host.
struct TcpSegment {
  std::string from, to;
  uint32_t sequence = 0, acknowledged = 0;
  uint16_t window = 0;  // unscaled
};

// The bytes of an IP packet with a segment that ends (FIN, ACK); pure.
std::string tcp_end_packet(const TcpSegment& segment);
// Needs CAP_NET_RAW and CAP_NET_ADMIN: its mark lets it pass a lock (packet_lock.h).
void send_tcp_end(const TcpSegment& segment);

}  // namespace mcr::kinds
