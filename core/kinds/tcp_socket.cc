// TCP over IPv4 and IPv6: listeners and connections.
#include <linux/capability.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/kinds/socket_options.h"
#include "core/kinds/tcp_repair.h"
#include "core/kinds/tcp_sockets.h"
#include "core/sys/process.h"
#include "core/sys/socket.h"

namespace mcr::kinds {
namespace {

constexpr uint32_t kReceiving = 1, kBothWays = 3;
constexpr int kWindowClamp = 10, kQuickAck = 12, kSegment = 2, kProtocolName = 31;  // TCP_*; 31: TCP_ULP

[[noreturn]] void refuse(const std::string& reason, const std::string& remedy) {
  throw Error(Fault::refused, reason, remedy);
}

std::string describe_end(const std::string& bytes, uint16_t port) {
  std::string address(bytes.size() == 4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6), '\0');
  auto* any = reinterpret_cast<sockaddr*>(address.data());
  any->sa_family = bytes.size() == 4 ? AF_INET : AF_INET6;
  reinterpret_cast<sockaddr_in*>(any)->sin_port = htons(port);
  bytes.copy(address.data() + (bytes.size() == 4 ? 4 : 8), bytes.size());
  return describe_address(address);
}

std::string describe_ends(const procfs::InetSocket& socket) {
  return fmt::format("{} to {}", describe_end(socket.local, socket.local_port),
                     describe_end(socket.remote, socket.remote_port));
}

uint16_t port_of(const std::string& address) {
  return static_cast<uint16_t>(static_cast<unsigned char>(address[2]) << 8 | static_cast<unsigned char>(address[3]));
}

// Of a connection these tell what the two ends have agreed on, or what lasts a moment.
void drop_agreed_options(image::SocketCommon& common, bool is_connected) {
  auto& options = *common.mutable_options();
  for (int i = options.size(); i-- > 0;)
    if ((options[i].level() == IPPROTO_TCP &&
         (options[i].name() == kWindowClamp || options[i].name() == kQuickAck || options[i].name() == kSegment)) ||
        (is_connected && options[i].level() == IPPROTO_IPV6 && options[i].name() == IPV6_V6ONLY))
      options.DeleteSubrange(i, 1);
}

class TcpSocketKind : public Kind {
 public:
  const char* name() const override { return "tcp_socket"; }

  bool claims(const FileView& file) const override {
    if (!is_socket(file)) return false;
    const auto protocol = sys::protocol_name(file.door);
    return protocol == "TCP" || protocol == "TCPv6";
  }

  void look(const FileView& file, const OpenFiles& table) const override {
    const DumpPolicy& policy = table.policy();
    const procfs::InetSocket* socket = table.sockets().find_inet(file.status.st_ino);
    if (!socket || socket->state == tcp::kClose) return;
    if (socket->state == tcp::kListen) {
      if (socket->receive_queue != 0 && !policy.skip_in_flight)
        refuse(fmt::format("{} connection{} at {} wait{} to be accepted", socket->receive_queue,
                           socket->receive_queue == 1 ? "" : "s", describe_end(socket->local, socket->local_port),
                           socket->receive_queue == 1 ? "s" : ""),
               "dump again when the program has accepted, or give --skip-in-flight to lose them");
      return;
    }
    if (!is_connected_state(socket->state)) {
      if (!policy.skip_in_flight)
        refuse(fmt::format("the connection {} is being opened", describe_ends(*socket)),
               "dump again when it is open, or give --skip-in-flight to save it closed");
      return;
    }
    if (policy.tcp_close) return;
    if (!policy.tcp_established)
      refuse(fmt::format("it is an open connection, {}", describe_ends(*socket)),
             "give --tcp-established to save it, or --tcp-close to have it closed by the restore");
    if (!sys::has_capability(CAP_NET_ADMIN))
      refuse(fmt::format("it is an open connection, {}, which is read by TCP_REPAIR", describe_ends(*socket)),
             "CAP_NET_ADMIN is the right that is missing (docs/rights.md); or give --tcp-close");
    if (!policy.lock_table.empty() && !table.sockets().has_collected() && table.sockets().tcp_peer(*socket) == 0)
      table.sockets().require_lockable();
  }

  void dump(const FileView& file, OpenFiles& table, image::FileObject& object) const override {
    image::TcpSocket message;
    const procfs::InetSocket* socket = table.sockets().find_inet(file.status.st_ino);
    const int state = tcp_state_of(file.copy);
    if (!socket && state != tcp::kClose)
      refuse("the kernel does not list it (sock_diag), so what it is connected to is not known",
             "load the module tcp_diag; or the socket belongs to another network namespace");
    if (const int left = state == tcp::kClose ? sys::bytes_to_read(file.copy) : 0; left > 0)
      refuse(fmt::format("its connection has ended, and {} byte{} of it wait to be read", left, left == 1 ? "" : "s"),
             "let the program read them, and dump again");
    if (const image::TcpSocket* read = table.sockets().tcp_state(file.status.st_ino)) message = *read;
    if (const auto layer = sys::try_get_option(file.copy, IPPROTO_TCP, kProtocolName); layer && !layer->empty())
      refuse(fmt::format("it is handled by {} (TCP_ULP)", layer->c_str()), "its keys cannot be read");
    dump_socket(file.copy, file.status, *message.mutable_common());
    if (message.state() == 0) message.set_state(state);
    message.set_local(sys::socket_name(file.copy));
    message.set_bound(port_of(message.local()) != 0);
    if (message.bound()) message.set_foreign(!is_own_address(message.local()));
    // One that has never been connected is hung up, but not at an end.
    if (state == tcp::kClose && (sys::poll_now(file.copy, POLLRDHUP) & POLLRDHUP)) message.set_shutdown(kBothWays);
    if (table.policy().tcp_close && is_connected_state(message.state())) message.set_shutdown(kBothWays);
    if (const auto remote = sys::peer_name(file.copy)) message.set_remote(*remote);
    if (is_connected_state(message.state())) {
      drop_agreed_options(*message.mutable_common(), true);
      message.set_closed(table.policy().tcp_close);
      // The other end's FIN has the same effect, and comes by itself.
      if (socket && !message.received_fin() && (socket->shutdown & kReceiving)) message.set_shutdown(kReceiving);
    }
    if (!is_connected_state(message.state()) && message.state() != tcp::kListen) {
      message.set_state(tcp::kClose);  // one that was being opened
      // What shows there is from that connection, and would be what the program asks of the next one.
      if (has_sent_segments(file.copy)) drop_agreed_options(*message.mutable_common(), false);
      if (message.common().domain() == AF_INET && !message.remote().empty()) message.set_bound(false);
    }
    if (state == tcp::kListen && socket) message.set_backlog(static_cast<int>(socket->send_queue));
    object.mutable_body()->PackFrom(message);
  }

  void check(const image::FileObject& object, const OpenedFiles& table, std::vector<Problem>& problems) const override {
    image::TcpSocket message;
    if (!object.body().UnpackTo(&message)) return problems.push_back({"tcp socket", "its record is unreadable", {}});
    check_tcp_socket(message, table, problems);
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles& table) const override {
    return table.tcp_sockets().take(object.id(), table);
  }
};

}  // namespace

const Kind* tcp_socket_kind() {
  static const TcpSocketKind kind;
  return &kind;
}

}  // namespace mcr::kinds
