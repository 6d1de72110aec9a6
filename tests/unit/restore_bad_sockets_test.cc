// Sockets of an image that no kernel could have had.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>
#include <functional>

#include "core/base/error.h"
#include "images/proto/sockets.pb.h"
#include "tests/unit/restore_sample.h"

namespace mcr {
namespace {

using namespace restore_sample;

std::string four(uint16_t port) {
  sockaddr_in in{};
  in.sin_family = AF_INET, in.sin_port = htons(port), in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return {reinterpret_cast<const char*>(&in), sizeof in};
}
std::string six(uint16_t port) {
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6, in.sin6_port = htons(port), in.sin6_addr = in6addr_loopback;
  return {reinterpret_cast<const char*>(&in), sizeof in};
}

void describe(image::SocketCommon& common, int domain, int type, int protocol) {
  common.set_inode(4711), common.set_mode(0777);
  common.set_domain(domain), common.set_type(type), common.set_protocol(protocol);
}

// The record as it should be is let through, the changed one is not.
template <typename Socket>
void expect_bad(const char* kind, Socket socket, const std::function<void(Socket&)>& change,
                const std::string& expected) {
  Sample good;
  good.add_object(5, kind, socket);
  EXPECT_NE(restore(good).find(kAllRight), std::string::npos) << restore(good);
  change(socket);
  expect_refused([&](Sample& s) { s.add_object(5, kind, socket); }, expected);
}

TEST(RestoreBadValues, OptionsOfSockets) {
  image::NetlinkSocket plain;
  describe(*plain.mutable_common(), AF_NETLINK, SOCK_RAW, 0);
  const auto refuse = [&](const std::function<void(image::SocketCommon&)>& change, const std::string& expected) {
    expect_bad<image::NetlinkSocket>(
        "netlink_socket", plain, [&](auto& s) { change(*s.mutable_common()); }, expected);
  };
  refuse([](auto& c) { c.set_inode(0); }, "inode cannot be 0");
  refuse(
      [](auto& c) {
        for (int i = 0; i < 257; ++i) c.add_options();
      },
      "it has too many options");
  refuse(
      [](auto& c) {
        c.add_options()->set_name(13);
        c.mutable_options(0)->set_value(std::string(257, 'v'));
      },
      "its option 13 is too long");
  refuse([](auto& c) { c.set_filter(std::string(9, 'f')); }, "its filter is no program");
  refuse([](auto& c) { c.set_filter(std::string(4097 * 8, '\0')); }, "its filter is no program");
}

TEST(RestoreBadValues, UnixSockets) {
  image::UnixSocket plain;
  describe(*plain.mutable_common(), AF_UNIX, SOCK_STREAM, 0);
  plain.set_state(7);
  const auto refuse = [&](const std::function<void(image::UnixSocket&)>& change, const std::string& expected) {
    expect_bad<image::UnixSocket>("unix_socket", plain, change, expected);
  };
  refuse([](auto& s) { s.mutable_common()->set_type(SOCK_RAW); }, "type cannot be so");
  refuse([](auto& s) { s.set_has_name(true); }, "name cannot be so");
  for (const std::string& name : {std::string(109, 'n'), std::string("a\0b", 3), std::string("folder/")})
    refuse([&](auto& s) { s.set_has_name(true), s.set_name(name); }, "name cannot be so");
  refuse([](auto& s) { s.set_outside_peer(std::string(111, 'p')); }, "outside_peer cannot be so");
  refuse([](auto& s) { s.set_root("relative"); }, "folder cannot be so");
  refuse([](auto& s) { s.set_folder(std::string("/a\0b", 4)); }, "folder cannot be so");
  refuse([](auto& s) { s.set_has_name(true), s.set_name("n"), s.set_on_disk(true); }, "folder is missing");
  for (const std::string& name : {std::string(109, 'n'), std::string("a\0b", 3), std::string("folder/")})
    refuse([&](auto& s) { s.set_peer_name(name); }, "peer_name cannot be so");
  for (const std::string& file : {std::string("relative"), std::string("/a\0b", 4)})
    refuse([&](auto& s) { s.set_has_name(true), s.set_name("n"), s.set_folder("/"), s.set_file(file); },
           "file cannot be so");
  refuse([](auto& s) { s.set_has_name(true), s.set_name("n"), s.set_file("/f"); }, "file cannot be so");
  refuse([](auto& s) { s.set_file("/f"), s.set_folder("/"); }, "file cannot be so");
  refuse([](auto& s) { s.mutable_peer_ids()->set_uid(UINT32_MAX); }, "the ids of a peer cannot be so");
  refuse([](auto& s) { s.add_pending()->mutable_ids()->set_gid(UINT32_MAX); }, "the ids of a peer cannot be so");
  refuse([](auto& s) { s.set_state(10); }, "state cannot be so");
  refuse([](auto& s) { s.set_backlog(-1); }, "backlog or shutdown cannot be so");
  refuse([](auto& s) { s.set_shutdown(4); }, "backlog or shutdown cannot be so");
}

TEST(RestoreBadValues, TcpSockets) {
  image::TcpSocket plain;
  describe(*plain.mutable_common(), AF_INET, SOCK_STREAM, 0);
  plain.set_state(7), plain.set_local(four(0));
  const auto refuse = [&](const std::function<void(image::TcpSocket&)>& change, const std::string& expected) {
    expect_bad<image::TcpSocket>("tcp_socket", plain, change, expected);
  };
  refuse([](auto& s) { s.mutable_common()->set_domain(AF_UNIX); }, "domain cannot be so");
  for (const int state : {0, 13, -1}) refuse([&](auto& s) { s.set_state(state); }, "state cannot be so");
  for (const std::string& address : {std::string(), four(1).substr(0, 15), six(1).substr(0, 16), std::string(200, 'a')})
    refuse([&](auto& s) { s.set_local(address); }, "local cannot be so");
  refuse([](auto& s) { s.set_state(1); }, "remote cannot be so");
  refuse([](auto& s) { s.set_never_sent(1); }, "never_sent cannot be so");
  refuse([](auto& s) { s.set_send_scale(15); }, "a window scale cannot be so");
  refuse([](auto& s) { s.set_window("short"); }, "window cannot be so");
  refuse([](auto& s) { s.set_backlog(-1); }, "backlog cannot be so");
  for (const char* table : {"filter", "mini-criu", "mini-criu-1; drop"})
    refuse([&](auto& s) { s.set_lock_table(table); }, "lock_table cannot be so");
}

TEST(RestoreBadValues, RawSockets) {
  image::RawSocket plain;
  describe(*plain.mutable_common(), AF_INET, SOCK_RAW, IPPROTO_ICMP);
  plain.set_local(std::string("\x02\0", 2) + std::string(14, '\0'));
  expect_bad<image::RawSocket>(
      "raw_socket", plain, [](auto& s) { s.mutable_common()->set_domain(AF_NETLINK); }, "domain cannot be 16");
}

TEST(RestoreBadValues, WhoWaitsToBeAccepted) {
  constexpr uint64_t kClient = 4712;
  image::TcpSocket listener, client;
  describe(*listener.mutable_common(), AF_INET, SOCK_STREAM, 0),
      describe(*client.mutable_common(), AF_INET, SOCK_STREAM, 0);
  listener.set_state(10), listener.set_local(four(21907)), listener.add_pending()->set_client(kClient);
  client.mutable_common()->set_inode(kClient);
  client.set_state(1), client.set_local(four(21908)), client.set_remote(four(21907));
  client.mutable_send()->set_data("sent"), client.set_sent_fin(true);
  using Change = std::function<void(image::TcpSocket & listener, image::TcpSocket & client)>;
  const auto sample = [&](const Change& change) {
    return [&, change](Sample& s) {
      image::TcpSocket changed_listener = listener, changed_client = client;
      change(changed_listener, changed_client);
      s.add_object(5, "tcp_socket", changed_client), s.add_object(6, "tcp_socket", changed_listener);
    };
  };
  Sample good;
  sample([](auto&, auto&) {})(good);
  EXPECT_NE(restore(good).find(kAllRight), std::string::npos) << restore(good);
  const auto refuse = [&](const Change& change, const std::string& expected) {
    expect_refused(sample(change), expected);
  };
  refuse([](auto& l, auto&) { l.set_state(7); }, "pending cannot be so");
  refuse(
      [](auto& l, auto&) {
        for (int i = 0; i < 65'536; ++i) l.add_pending();
      },
      "pending cannot be so");
  refuse([](auto& l, auto&) { l.mutable_pending(0)->set_client(1); },
         "socket 1 waits there, which is not in the image");
  refuse([](auto& l, auto&) { l.add_pending()->set_client(kClient); }, "and once more");
  refuse([](auto& l, auto&) { l.mutable_pending(0)->set_client(4711); }, "which cannot be so");
  refuse([](auto&, auto& c) { c.set_remote(four(21906)); }, "and is connected elsewhere");
  refuse([](auto&, auto& c) { c.mutable_common()->set_inode(4711); }, "another socket has its inode");
  const auto refuse_client = [&](const std::function<void(image::TcpSocket&)>& change) {
    refuse([&](auto&, auto& c) { change(c); }, "which cannot be so");
  };
  refuse_client([](auto& c) { c.set_state(8); });
  refuse_client([](auto& c) { c.set_closed(true); });
  refuse_client([](auto& c) { c.set_received_fin(true); });
  refuse_client([](auto& c) { c.set_never_sent(2); });
  refuse_client([](auto& c) { c.mutable_receive()->set_data("got"); });
  client.set_state(2);
  refuse_client([](auto&) {});
  refuse([](auto& l, auto& c) { l.clear_pending(), c.clear_remote(); }, "remote cannot be so");
}

TEST(RestoreBadValues, UdpSockets) {
  image::UdpSocket plain;
  describe(*plain.mutable_common(), AF_INET, SOCK_DGRAM, IPPROTO_UDP);
  plain.set_local(four(40000)), plain.set_remote(four(40001));
  const auto refuse = [&](const std::function<void(image::UdpSocket&)>& change, const std::string& expected) {
    expect_bad<image::UdpSocket>("udp_socket", plain, change, expected);
  };
  refuse([](auto& s) { s.mutable_common()->set_domain(AF_PACKET); }, "domain cannot be 17");
  refuse([](auto& s) { s.mutable_common()->set_type(SOCK_RAW); }, "type cannot be 3");
  for (const int protocol : {0, 6, 255})
    refuse([&](auto& s) { s.mutable_common()->set_protocol(protocol); },
           fmt::format("protocol cannot be {}", protocol));
  for (const std::string& address : {four(1).substr(0, 15), four(1) + "x", six(1), std::string("a")}) {
    refuse([&](auto& s) { s.set_local(address); }, "local cannot be so");
    refuse([&](auto& s) { s.set_remote(address); }, "remote cannot be so");
    refuse([&](auto& s) { s.add_queue()->set_address(address); }, "a datagram that waits has no sender");
  }
  refuse([](auto& s) { s.set_shutdown(4); }, "shutdown cannot be 4");
  refuse([](auto& s) { s.add_queue(); }, "a datagram that waits has no sender");
  const auto refuse_message = [&](const std::function<void(image::SocketMessage&)>& change,
                                  const std::string& expected) {
    refuse(
        [&](auto& s) {
          s.add_queue()->set_address(four(9));
          change(*s.mutable_queue(0));
        },
        expected);
  };
  refuse_message([](auto& m) { m.set_data(std::string(65508, 'd')); }, "a datagram of 65508 bytes");
  refuse_message([](auto& m) { m.set_destination(std::string(16, 'd')); }, "destination cannot be so");
  refuse_message([](auto& m) { m.set_hops(257); }, "hops cannot be 257");
  refuse_message([](auto& m) { m.set_traffic_class(256); }, "traffic_class cannot be 256");
  refuse_message([](auto& m) { m.add_files(); }, "a datagram with files");
}

}  // namespace
}  // namespace mcr
