#include "core/procfs/socket_diag.h"

#include <gtest/gtest.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/netlink_diag.h>
#include <linux/tcp.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstring>

namespace mcr::procfs {
namespace {

template <typename T>
std::string bytes_of(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string attribute(int type, std::string value) {
  const nlattr head{static_cast<uint16_t>(NLA_HDRLEN + value.size()), static_cast<uint16_t>(type)};
  value.resize(NLA_ALIGN(value.size()));
  return bytes_of(head) + value;
}

template <typename Body>
std::string message(const Body& body, const std::string& attributes) {
  std::string text = bytes_of(body);
  text.resize(NLMSG_ALIGN(text.size()));
  text += attributes;
  nlmsghdr head{};
  head.nlmsg_len = static_cast<uint32_t>(NLMSG_HDRLEN + text.size());
  head.nlmsg_type = 20;
  return bytes_of(head) + text;
}

std::string unix_message() {
  unix_diag_msg body{};
  body.udiag_family = AF_UNIX, body.udiag_type = SOCK_STREAM, body.udiag_state = 10, body.udiag_ino = 4711;
  const unix_diag_vfs vfs{17, 42};
  const unix_diag_rqlen lengths{2, 128};
  const uint32_t icons[] = {11, 12};
  return message(body, attribute(UNIX_DIAG_NAME, std::string("/run/s\0", 7)) + attribute(UNIX_DIAG_VFS, bytes_of(vfs)) +
                           attribute(UNIX_DIAG_ICONS, bytes_of(icons)) + attribute(UNIX_DIAG_RQLEN, bytes_of(lengths)) +
                           attribute(UNIX_DIAG_SHUTDOWN, std::string("\x02", 1)));
}

TEST(SocketDiag, AUnixListenerWithThoseWhoWait) {
  const auto socket = parse_unix_diag(unix_message());
  ASSERT_TRUE(socket);
  EXPECT_EQ(socket->inode, 4711u);
  EXPECT_EQ(socket->state, 10);
  EXPECT_EQ(socket->name, std::string("/run/s\0", 7));
  EXPECT_EQ(socket->file_inode, 17u);
  EXPECT_EQ(socket->pending, (std::vector<uint64_t>{11, 12}));
  EXPECT_EQ(socket->queued, 2u);
  EXPECT_EQ(socket->backlog, 128u);
  EXPECT_EQ(socket->shutdown, 2u);
  EXPECT_FALSE(socket->has_peer);
}

TEST(SocketDiag, APeerOfInodeNoughtIsAPeerAllTheSame) {
  unix_diag_msg body{};
  body.udiag_family = AF_UNIX;
  const auto gone = parse_unix_diag(message(body, attribute(UNIX_DIAG_PEER, bytes_of(uint32_t{0}))));
  ASSERT_TRUE(gone);
  EXPECT_TRUE(gone->has_peer);
  EXPECT_EQ(gone->peer, 0u);
  EXPECT_FALSE(gone->name);
}

TEST(SocketDiag, InternetSocketsByTheirFamily) {
  inet_diag_msg body{};
  body.idiag_family = AF_INET, body.idiag_state = 1, body.idiag_inode = 99;
  body.id.idiag_sport = htons(80), body.id.idiag_dport = htons(40000);
  body.id.idiag_src[0] = htonl(INADDR_LOOPBACK);
  body.idiag_rqueue = 3;
  const auto four = parse_inet_diag(message(body, {}), IPPROTO_TCP);
  ASSERT_TRUE(four);
  EXPECT_EQ(four->local, std::string("\x7f\0\0\x01", 4));
  EXPECT_EQ(four->local_port, 80);
  EXPECT_EQ(four->remote_port, 40000);
  EXPECT_EQ(four->receive_queue, 3u);
  body.idiag_family = AF_INET6;
  EXPECT_EQ(parse_inet_diag(message(body, {}), IPPROTO_TCP)->local.size(), 16u);
  body.idiag_family = AF_UNIX;
  EXPECT_FALSE(parse_inet_diag(message(body, {}), IPPROTO_TCP));
}

TEST(SocketDiag, HowLongAgoATcpSocketHasSent) {
  inet_diag_msg body{};
  body.idiag_family = AF_INET, body.idiag_state = 1;
  tcp_info info{};
  info.tcpi_last_data_sent = 4711;
  std::string bytes = bytes_of(info);
  EXPECT_EQ(parse_inet_diag(message(body, attribute(INET_DIAG_INFO, bytes)), IPPROTO_TCP)->sent_ago, 4711u);
  EXPECT_FALSE(parse_inet_diag(message(body, {}), IPPROTO_TCP)->sent_ago);
  bytes.resize(offsetof(tcp_info, tcpi_last_data_sent) + 3);
  EXPECT_FALSE(parse_inet_diag(message(body, attribute(INET_DIAG_INFO, bytes)), IPPROTO_TCP)->sent_ago);
}

TEST(SocketDiag, NetlinkGroups) {
  netlink_diag_msg body{};
  body.ndiag_family = AF_NETLINK, body.ndiag_portid = 5, body.ndiag_ino = 7, body.ndiag_protocol = NETLINK_ROUTE;
  const auto socket = parse_netlink_diag(message(body, attribute(NETLINK_DIAG_GROUPS, std::string("\x01\0\0\x80", 4))));
  ASSERT_TRUE(socket);
  EXPECT_EQ(socket->portid, 5u);
  EXPECT_EQ(socket->groups, std::string("\x01\0\0\x80", 4));
}

TEST(SocketDiag, WhatIsCutShortIsTakenAsFarAsItGoes) {
  const std::string whole = unix_message();
  for (size_t length = 0; length < whole.size(); ++length) {
    const auto socket = parse_unix_diag(whole.substr(0, length));
    EXPECT_EQ(socket.has_value(), length >= NLMSG_HDRLEN + sizeof(unix_diag_msg)) << length;
  }
  std::string wrong = whole;
  wrong[NLMSG_HDRLEN + sizeof(unix_diag_msg)] = 1;  // an attribute shorter than its head
  EXPECT_FALSE(parse_unix_diag(wrong)->name);
}

}  // namespace
}  // namespace mcr::procfs
