#include "core/kinds/tcp_segment.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cstring>

#include "core/kinds/ip_packet.h"
#include "core/kinds/packet_lock.h"

namespace mcr::kinds {

std::string tcp_end_packet(const TcpSegment& segment) {
  const PacketEnds ends = packet_ends(segment.from, segment.to);
  tcphdr head{};
  std::memcpy(&head.source, segment.from.data() + 2, 2), std::memcpy(&head.dest, segment.to.data() + 2, 2);
  head.seq = htonl(segment.sequence), head.ack_seq = htonl(segment.acknowledged);
  head.doff = sizeof head / 4, head.fin = 1, head.ack = 1;
  head.window = htons(segment.window);
  const std::string bare(reinterpret_cast<const char*>(&head), sizeof head);
  head.check = checksum(pseudo_header(ends, IPPROTO_TCP, sizeof head) + bare);
  return ip_packet(ends, IPPROTO_TCP, {reinterpret_cast<const char*>(&head), sizeof head});
}

void send_tcp_end(const TcpSegment& segment) {
  send_packet(packet_ends(segment.from, segment.to), tcp_end_packet(segment), kPassingMark);
}

}  // namespace mcr::kinds
