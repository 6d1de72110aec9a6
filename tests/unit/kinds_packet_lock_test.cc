// Tables that keep packets away, and packets made by hand: what goes into them.
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "core/kinds/packet_lock.h"
#include "core/kinds/tcp_segment.h"

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

}  // namespace
}  // namespace mcr::kinds
