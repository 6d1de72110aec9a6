// Which listener a connection waits at, and in what order.
#include "core/kinds/tcp_waiting.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

namespace mcr::kinds {
namespace {

using procfs::InetSocket;

constexpr int kEstablished = 1, kSynReceived = 3, kCloseWait = 8, kListen = 10;
constexpr uint16_t kFirstPort = 32'768;
const std::string kLoopback("\x7f\0\0\x01", 4), kAny(4, '\0'), kAnySix(16, '\0');

InetSocket listener(uint64_t inode, const std::string& address, uint32_t waiting = 0) {
  InetSocket socket;
  socket.inode = inode, socket.family = address.size() == 4 ? AF_INET : AF_INET6, socket.state = kListen;
  socket.local = address, socket.local_port = 80, socket.receive_queue = waiting;
  return socket;
}

InetSocket waiting(uint16_t port, uint32_t age, int state = kEstablished) {
  InetSocket socket = listener(0, kLoopback);
  socket.state = state;
  socket.remote = kLoopback, socket.remote_port = port, socket.sent_ago = age;
  return socket;
}

std::vector<uint16_t> ports_at(const AcceptQueue& queue) {
  std::vector<uint16_t> ports;
  for (const auto& one : queue.connections) ports.push_back(one.end.remote_port);
  return ports;
}

using Ports = std::vector<uint16_t>;

TEST(AcceptQueue, TheOldestIsFirst) {
  const auto queues = sort_accept_queues(
      {waiting(40'002, 8), listener(5, kAny, 3), waiting(40'004, 100), waiting(1'000, 12)}, kFirstPort);
  const AcceptQueue& queue = queues.at(5);
  EXPECT_EQ(ports_at(queue), (Ports{40'004, 1'000, 40'002}));
  EXPECT_EQ(queue.unseen, 0u);
  EXPECT_TRUE(queue.is_order_known);
}

TEST(AcceptQueue, PortsRiseWithinATickAndBeginAnewAtTheEndOfTheirRange) {
  auto queues = sort_accept_queues({listener(5, kAny, 3), waiting(40'010, 8), waiting(40'002, 8), waiting(40'004, 8)},
                                   kFirstPort);
  EXPECT_EQ(ports_at(queues.at(5)), (Ports{40'002, 40'004, 40'010}));
  queues = sort_accept_queues(
      {listener(5, kAny, 4), waiting(32'770, 8), waiting(60'990, 8), waiting(32'780, 8), waiting(60'980, 8)},
      kFirstPort);
  EXPECT_EQ(ports_at(queues.at(5)), (Ports{60'980, 60'990, 32'770, 32'780}));
  EXPECT_TRUE(queues.at(5).is_order_known);
}

TEST(AcceptQueue, PortsThatTheKernelHasNotChosenSayNothing) {
  EXPECT_FALSE(sort_accept_queues({listener(5, kAny, 2), waiting(40'001, 8), waiting(40'002, 8)}, kFirstPort)
                   .at(5)
                   .is_order_known);
  EXPECT_FALSE(sort_accept_queues({listener(5, kAny, 2), waiting(2'000, 8), waiting(2'002, 8)}, kFirstPort)
                   .at(5)
                   .is_order_known);
}

TEST(AcceptQueue, TheListenerThatSuitsBest) {
  std::vector<InetSocket> sockets{listener(5, kAny), listener(6, kLoopback), listener(7, kAnySix), waiting(40'000, 1)};
  auto queues = sort_accept_queues(sockets, kFirstPort);
  EXPECT_EQ(ports_at(queues.at(6)), (Ports{40'000}));
  EXPECT_TRUE(queues.at(5).connections.empty());
  EXPECT_TRUE(queues.at(7).connections.empty());
  EXPECT_FALSE(queues.at(6).is_shared);
  sockets.push_back(listener(8, kLoopback));
  queues = sort_accept_queues(sockets, kFirstPort);
  EXPECT_TRUE(queues.at(6).is_shared && queues.at(8).is_shared);
  EXPECT_FALSE(queues.at(5).is_shared);
  sockets.back().device = 3;  // bound to another interface
  EXPECT_FALSE(sort_accept_queues(sockets, kFirstPort).at(6).is_shared);
}

TEST(AcceptQueue, WhatNobodyShowsIsCounted) {
  const auto queues = sort_accept_queues({listener(5, kAny, 3), waiting(40'000, 1)}, kFirstPort);
  EXPECT_EQ(queues.at(5).unseen, 2u);
}

TEST(AcceptQueue, AnEndIsNoByte) {
  InetSocket ended = waiting(40'000, 1, kCloseWait), half_open = waiting(40'002, 0, kSynReceived);
  ended.receive_queue = 1;
  half_open.sent_ago.reset();
  const auto queues = sort_accept_queues({listener(5, kAny, 1), half_open, ended}, kFirstPort);
  const AcceptQueue& queue = queues.at(5);
  ASSERT_EQ(queue.connections.size(), 2u);
  EXPECT_EQ(queue.unseen, 0u);
  WaitingConnection first = queue.connections[0], second = queue.connections[1];
  EXPECT_EQ(first.bytes + second.bytes, 0u);
  EXPECT_FALSE(first.half_open);
  EXPECT_TRUE(second.half_open);
  first.client = second.client = 9;
  EXPECT_FALSE(why_lost(queue, first));
  EXPECT_FALSE(why_lost(queue, second));
  first.bytes = 7;
  EXPECT_EQ(why_lost(queue, first), "7 bytes wait in it, which cannot be read before");
  second.client = 0;
  EXPECT_EQ(why_lost(queue, second), "its other end is outside of the tree");
}

TEST(AcceptQueue, WhichOrderIsFoundAgain) {
  EXPECT_TRUE(is_order_of_ports({}, kFirstPort));
  EXPECT_TRUE(is_order_of_ports({40'000, 40'002, 40'020}, kFirstPort));
  EXPECT_FALSE(is_order_of_ports({40'002, 40'000}, kFirstPort));
  EXPECT_FALSE(is_order_of_ports({40'000, 40'001}, kFirstPort));
  EXPECT_FALSE(is_order_of_ports({33'000, 60'000}, kFirstPort));
  EXPECT_FALSE(is_order_of_ports({2'000, 2'002}, kFirstPort));
}

}  // namespace
}  // namespace mcr::kinds
