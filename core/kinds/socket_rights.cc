#include "core/kinds/socket_rights.h"

#include <linux/capability.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <set>

#include "core/kinds/socket_options.h"
#include "core/kinds/tcp_repair.h"
#include "core/kinds/tcp_sockets.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/sys/rights.h"
#include "core/sys/socket.h"

namespace mcr::kinds {
namespace {

constexpr int kListening = 10;

std::string shown(std::string name) {
  std::ranges::replace_if(
      name, [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, '@');
  return name;
}

class SocketRights {
 public:
  SocketRights(const OpenedFiles& table, std::vector<Problem>& problems) : table_(table), problems_(problems) {
    if (!may(CAP_NET_BIND_SERVICE)) first_free_port_ = first_free_port();
    if (may(CAP_NET_RAW)) return;
    for (const auto& [id, object] : table.objects())
      if (image::TcpSocket tcp; object.body().Is<image::TcpSocket>() && object.body().UnpackTo(&tcp))
        if (is_connected_state(tcp.state())) ends_.emplace(plain_end(tcp.local()), plain_end(tcp.remote()));
  }

  void check(const image::FileObject& object) {
    const auto& body = object.body();
    if (image::UnixSocket socket; body.Is<image::UnixSocket>() && body.UnpackTo(&socket)) {
      object_ = socket.has_name() ? fmt::format("unix socket {}", shown(socket.name())) : "unix socket";
      check_unix(socket);
      check_common({AF_UNIX, socket.common().type(), 0}, socket.common());
    } else if (image::TcpSocket tcp; body.Is<image::TcpSocket>() && body.UnpackTo(&tcp)) {
      object_ = fmt::format("tcp socket {}", describe_address(tcp.local()));
      check_tcp(tcp);
      check_common({tcp.common().domain(), SOCK_STREAM, IPPROTO_TCP}, tcp.common());
    } else if (image::UdpSocket udp; body.Is<image::UdpSocket>() && body.UnpackTo(&udp)) {
      object_ = udp.local().empty() ? "udp socket" : fmt::format("udp socket {}", describe_address(udp.local()));
      check_port(udp.local());
      check_common({udp.common().domain(), udp.common().type(), udp.common().protocol()}, udp.common());
    } else if (image::NetlinkSocket netlink; body.Is<image::NetlinkSocket>() && body.UnpackTo(&netlink)) {
      object_ = fmt::format("netlink socket of protocol {}", netlink.common().protocol());
      check_common({AF_NETLINK, netlink.common().type(), netlink.common().protocol()}, netlink.common());
    } else if (image::PacketSocket packet; body.Is<image::PacketSocket>() && body.UnpackTo(&packet)) {
      object_ = "packet socket";
      check_common({AF_PACKET, packet.common().type(), 0}, packet.common());
    } else if (image::RawSocket raw; body.Is<image::RawSocket>() && body.UnpackTo(&raw)) {
      object_ = "raw socket";
      check_common({raw.common().domain(), raw.common().type(), raw.common().protocol()}, raw.common());
    }
  }

 private:
  // ip(7); the network namespace's.
  static int first_free_port() {
    const auto text = sys::try_read_text("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    return text ? std::stoi("0" + *text) : IPPORT_RESERVED;
  }
  static bool may(int capability) { return sys::has_capability(capability); }

  void add(const std::string& what, const std::string& rights) {
    const bool one = rights.find(' ') == std::string::npos;
    problems_.push_back({object_, what,
                         fmt::format("{} {} missing: restore as root, or see docs/rights.md", rights,
                                     one ? "is the right that is" : "are the rights that are")});
  }
  void need(int capability, const std::string& what) {
    if (!may(capability)) add(what, sys::capability_name(capability));
  }

  void check_port(const std::string& address) {
    if (!is_inet_address(address)) return;
    const int port = static_cast<unsigned char>(address[2]) << 8 | static_cast<unsigned char>(address[3]);
    if (port != 0 && port < first_free_port_)
      add(fmt::format("is bound to port {}, and a user may take those from {} on", port, first_free_port_),
          "CAP_NET_BIND_SERVICE");
  }

  void check_tcp(const image::TcpSocket& tcp) {
    const bool connected = is_connected_state(tcp.state());
    const bool is_closed = connected && (tcp.closed() || table_.policy().tcp_close);
    if (is_closed) return;
    if (tcp.bound()) check_port(tcp.local());
    if (!connected) return;
    need(CAP_NET_ADMIN, "is an open connection, which is made by TCP_REPAIR");
    if (tcp.received_fin() && !ends_.contains({plain_end(tcp.remote()), plain_end(tcp.local())}))
      need(CAP_NET_RAW, "is a connection whose other end has closed its half, which a packet made by hand tells it");
  }

  void check_unix(const image::UnixSocket& socket) {
    const bool is_named = socket.has_name() && !socket.name().empty() && socket.name().front() != '\0';
    if (knows_another_user(socket) && !(may(CAP_SETUID) && may(CAP_SETGID)))
      add(fmt::format("is known to belong to user {} and group {} (SO_PEERCRED)", socket.peer_ids().uid(),
                      socket.peer_ids().gid()),
          "CAP_SETUID and CAP_SETGID");
    if (is_named && !socket.on_disk() && !(may(CAP_SYS_ADMIN) && may(CAP_SYS_CHROOT)))
      add("has a name without having its file, as connections that were accepted do",
          "CAP_SYS_ADMIN and CAP_SYS_CHROOT");
    if (socket.on_disk() && !socket.root().empty())
      need(CAP_SYS_CHROOT, fmt::format("has its file below the root folder {}", socket.root()));
    if (socket.on_disk() && socket.uid() != sys::effective_uid())
      need(CAP_CHOWN, fmt::format("has a file of user {}", socket.uid()));
    const auto tells_sender = [](const auto& message) { return message.has_credentials(); };
    if (std::ranges::any_of(socket.queue(), tells_sender))
      need(CAP_SYS_ADMIN, "holds a message that tells who has sent it (SCM_CREDENTIALS)");
  }

  // Its type, its owner, its options. With these three rights nothing of it is forbidden.
  void check_common(const sys::SocketType& type, const image::SocketCommon& common) {
    if (may(CAP_NET_ADMIN) && may(CAP_NET_RAW) && may(CAP_CHOWN)) return;
    try {
      for (const auto& forbidden : options_.find(type, common))
        add(fmt::format("has {}, which this user may not give it", forbidden.what),
            sys::capability_name(forbidden.capability));
    } catch (const Error& error) {
      if (error.code() == EMFILE || error.code() == ENFILE) throw;
      problems_.push_back({object_, fmt::format("cannot be made here: {}", error.reason()),
                           error.code() == EPERM ? "CAP_NET_RAW is the right that is missing: restore as root, or see "
                                                   "docs/rights.md"
                                                 : error.remedy()});
    }
  }

  // unix_sockets.cc makes its ends as the one that the other end is to know (SO_PEERCRED).
  static bool knows_another_user(const image::UnixSocket& socket) {
    const bool is_used = socket.has_peer() || socket.state() == kListening;
    return is_used && socket.has_peer_ids() &&
           (socket.peer_ids().uid() != sys::effective_uid() || socket.peer_ids().gid() != sys::effective_gid());
  }

  const OpenedFiles& table_;
  std::vector<Problem>& problems_;
  std::string object_;
  int first_free_port_ = 0;
  std::set<std::pair<std::string, std::string>> ends_;  // of connections: local and remote
  OptionRights options_;
};

}  // namespace

void check_socket_rights(const OpenedFiles& table, std::vector<Problem>& problems) {
  constexpr int kAll[] = {CAP_CHOWN,  CAP_NET_ADMIN, CAP_NET_BIND_SERVICE, CAP_NET_RAW,
                          CAP_SETGID, CAP_SETUID,    CAP_SYS_ADMIN,        CAP_SYS_CHROOT};
  if (std::ranges::all_of(kAll, sys::has_capability)) return;
  SocketRights rights(table, problems);
  for (const auto& [id, object] : table.objects()) rights.check(object);
}

}  // namespace mcr::kinds
