#include "images/socket_view.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "images/messages.h"
#include "images/proto/sockets.pb.h"

namespace mcr::images {
namespace {

std::string type_text(int type) {
  switch (type) {
    case SOCK_STREAM:
      return "stream";
    case SOCK_DGRAM:
      return "datagram";
    case SOCK_SEQPACKET:
      return "seqpacket";
    case SOCK_RAW:
      return "raw";
    default:
      return fmt::format("type {}", type);
  }
}

std::string tcp_state(int state) {
  // As the kernel numbers them (net/tcp_states.h).
  static constexpr const char* kNames[] = {"",           "established", "syn-sent",        "syn-received", "fin-wait-1",
                                           "fin-wait-2", "time-wait",   "closed",          "close-wait",   "last-ack",
                                           "listens",    "closing",     "new-syn-received"};
  if (state > 0 && static_cast<size_t>(state) < std::size(kNames)) return kNames[state];
  return fmt::format("state {}", state);
}

uint64_t bytes_of(const google::protobuf::RepeatedPtrField<image::SocketMessage>& queue) {
  uint64_t bytes = 0;
  for (const auto& message : queue) bytes += message.data().size();
  return bytes;
}

// An abstract name begins with a zero byte, which is shown as "@", as everywhere.
std::string unix_name(const std::string& name) {
  if (name.empty() || name[0] != '\0') return name.substr(0, name.find('\0'));
  std::string text = name;
  text[0] = '@';
  return text;
}

SocketView view_of(const image::UnixSocket& socket) {
  SocketView view{"unix " + type_text(socket.common().type()), "unconnected", socket.common().inode(), 0, 0, {}, {}, 0};
  if (socket.state() == 10) view.state = "listens";
  if (socket.state() == 1) view.state = "established";
  view.received = bytes_of(socket.queue());
  if (socket.has_name()) view.local = unix_name(socket.name());
  view.peer = socket.peer();
  view.remote = unix_name(socket.outside_peer().empty() ? socket.peer_name() : socket.outside_peer());
  return view;
}

SocketView view_of(const image::TcpSocket& socket) {
  SocketView view{"tcp", tcp_state(socket.state()), socket.common().inode(), 0, 0, {}, {}, 0};
  view.received = socket.receive().data().size();
  view.sent = socket.send().data().size();
  view.local = address_text(socket.local());
  view.remote = address_text(socket.remote());
  return view;
}

SocketView view_of(const image::UdpSocket& socket) {
  SocketView view{"udp", socket.remote().empty() ? "unconnected" : "established", socket.common().inode(), 0, 0, {}, {},
                  0};
  view.received = bytes_of(socket.queue());
  view.local = address_text(socket.local());
  view.remote = address_text(socket.remote());
  return view;
}

SocketView view_of(const image::NetlinkSocket& socket) {
  return {"netlink",
          "unconnected",
          socket.common().inode(),
          0,
          0,
          fmt::format("protocol {}, port {}", socket.common().protocol(), socket.portid()),
          fmt::format("port {}", socket.remote_portid()),
          0};
}

SocketView view_of(const image::PacketSocket& socket) {
  return {"packet " + type_text(socket.common().type()),
          "unconnected",
          socket.common().inode(),
          0,
          0,
          address_text(socket.local()),
          {},
          0};
}

SocketView view_of(const image::RawSocket& socket) {
  return {socket.common().type() == SOCK_RAW ? "raw" : "ping",
          socket.remote().empty() ? "unconnected" : "established",
          socket.common().inode(),
          0,
          0,
          address_text(socket.local()),
          address_text(socket.remote()),
          0};
}

template <typename Socket>
bool try_view(const image::FileObject& object, std::optional<SocketView>& view) {
  if (!object.body().Is<Socket>()) return false;
  Socket socket;
  if (parse_bounded(object.body().value(), socket)) view = view_of(socket);
  return true;
}

}  // namespace

std::string address_text(std::string_view address) {
  sa_family_t family = AF_UNSPEC;
  if (address.size() < sizeof family) return {};
  std::memcpy(&family, address.data(), sizeof family);
  char text[INET6_ADDRSTRLEN] = {};
  if (family == AF_INET && address.size() >= sizeof(sockaddr_in)) {
    sockaddr_in in{};
    std::memcpy(&in, address.data(), sizeof in);
    ::inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
    return fmt::format("{}:{}", text, ntohs(in.sin_port));
  }
  if (family == AF_INET6 && address.size() >= sizeof(sockaddr_in6)) {
    sockaddr_in6 in{};
    std::memcpy(&in, address.data(), sizeof in);
    ::inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text);
    return fmt::format("[{}]:{}", text, ntohs(in.sin6_port));
  }
  return fmt::format("an address of family {}, {} bytes", family, address.size());
}

std::optional<SocketView> socket_view(const image::FileObject& object) {
  std::optional<SocketView> view;
  try_view<image::UnixSocket>(object, view) || try_view<image::TcpSocket>(object, view) ||
      try_view<image::UdpSocket>(object, view) || try_view<image::NetlinkSocket>(object, view) ||
      try_view<image::PacketSocket>(object, view) || try_view<image::RawSocket>(object, view);
  return view;
}

}  // namespace mcr::images
