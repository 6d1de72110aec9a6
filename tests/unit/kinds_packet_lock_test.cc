// Tables that keep packets away, and packets made by hand: what goes into them.
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "core/kinds/packet_lock.h"
#include "core/kinds/tcp_segment.h"
#include "core/kinds/udp_queue.h"

namespace mcr::kinds {
namespace {

TEST(PacketLock, OnlyTablesOfADumpAreEverRemoved) {
  EXPECT_TRUE(is_lock_name("mini-criu-4711-18f3a"));
  for (const char* name : {"", "filter", "mini-criu", "mini-criu-4711 x", "mini-criu-A", "x-mini-criu-1"})
    EXPECT_FALSE(is_lock_name(name)) << name;
  EXPECT_FALSE(is_lock_name("mini-criu-" + std::string(60, '1')));
}

std::string four(uint32_t address, uint16_t port) {
  sockaddr_in in{};
  in.sin_family = AF_INET, in.sin_port = htons(port), in.sin_addr.s_addr = htonl(address);
  return {reinterpret_cast<const char*>(&in), sizeof in};
}

uint32_t folded(std::string_view bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2)
    sum += static_cast<uint32_t>(static_cast<unsigned char>(bytes[i]) << 8 | static_cast<unsigned char>(bytes[i + 1]));
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

// RFC 1071: with its checksum in it, the sum of everything is all ones.
TEST(TcpSegment, ChecksumsAreRight) {
  const std::string packet = tcp_end_packet({four(0x0a000001, 80), four(0x0a0000ff, 4000), 0xfffffff0, 77, 500});
  ASSERT_EQ(packet.size(), 40u);
  EXPECT_EQ(folded(packet.substr(0, 20)), 0xffffu);
  const std::string pseudo = packet.substr(12, 8) + std::string("\0\6\0\24", 4);
  EXPECT_EQ(folded(pseudo + packet.substr(20)), 0xffffu);
  EXPECT_EQ(packet[33], 0x11);  // FIN and ACK
}

TEST(Datagram, HeadsAndChecksumsAreRight) {
  const PacketEnds ends = packet_ends(four(0x0a000001, 80), four(0x7f000001, 4000));
  const std::string ports("\0\120\17\240", 4);
  for (const std::string& data : {std::string(), std::string("odd"), std::string("even"), std::string(60001, 'x')})
    for (const int protocol : {IPPROTO_UDP, IPPROTO_UDPLITE}) {
      const std::string packet = datagram_packet(ends, protocol, ports, data, {.hops = 17, .traffic_class = 0x28});
      ASSERT_EQ(packet.size(), 28 + data.size());
      EXPECT_EQ(folded(packet.substr(0, 20)), 0xffffu);
      EXPECT_EQ(packet[1], 0x28);
      EXPECT_EQ(packet[8], 17);
      EXPECT_EQ(packet[9], static_cast<char>(protocol));
      EXPECT_EQ(packet.substr(20, 4), ports);
      const auto bytes = static_cast<uint16_t>(8 + data.size());
      const std::string length{static_cast<char>(bytes >> 8), static_cast<char>(bytes)};
      EXPECT_EQ(packet.substr(24, 2), length);
      const std::string pseudo = packet.substr(12, 8) + std::string(1, '\0') + packet[9] + length;
      EXPECT_EQ(folded(pseudo + packet.substr(20) + std::string(data.size() % 2, '\0')), 0xffffu);
      EXPECT_EQ(packet.substr(28), data);
    }
}

// A checksum of zero would say that there is none.
TEST(Datagram, NoChecksumIsZero) {
  const PacketEnds ends = packet_ends(four(0, 0), four(0, 0));
  std::string data(2, '\0');
  for (int word = 0; word < 0x10000; ++word) {
    data[0] = static_cast<char>(word >> 8), data[1] = static_cast<char>(word);
    const std::string packet = datagram_packet(ends, IPPROTO_UDP, std::string(4, '\0'), data, {});
    ASSERT_NE(packet.substr(26, 2), std::string(2, '\0')) << word;
  }
}

}  // namespace
}  // namespace mcr::kinds
