// What waited in a socket of UDP or UDP-Lite: put back with packets made by hand, which come over the loopback from
// whoever had sent them.
#pragma once

#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/kinds/ip_packet.h"
#include "images/proto/sockets.pb.h"

namespace mcr::kinds {

// Throws Fault::image for what no socket can have had.
void check_udp_record(const std::string& record, const mcr::image::UdpSocket& socket);
// Dump. Throws Fault::refused for a datagram that could not be put back anywhere.
void require_senders(const mcr::image::UdpSocket& socket);
// What stands in the way of its queue here; changes nothing.
void check_udp_queue(const mcr::image::UdpSocket& socket, std::vector<Problem>& problems);

// fd: new, neither bound nor given its options; is so afterwards, but for the sizes of its buffers, SO_PEEK_OFF and
// what asks for destinations. Every datagram is seen to have arrived, from the right sender, before the next one is
// sent. Needs CAP_NET_RAW. Throws Fault::system when something keeps one away.
void fill_udp_queue(int fd, const mcr::image::UdpSocket& socket);

// The bytes of an IP packet; pure. protocol: IPPROTO_UDP or IPPROTO_UDPLITE; the ports as they stand in packets.
std::string datagram_packet(const PacketEnds& ends, int protocol, const std::string& ports, const std::string& data,
                            PacketHead values);

}  // namespace mcr::kinds
