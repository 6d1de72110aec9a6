// TCP over IPv4 and IPv6: listeners and connections.
#include <linux/capability.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstring>

#include "core/base/log.h"
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

std::string address_of(const std::string& bytes, uint16_t port) {
  std::string address(bytes.size() == 4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6), '\0');
  auto* any = reinterpret_cast<sockaddr*>(address.data());
  any->sa_family = bytes.size() == 4 ? AF_INET : AF_INET6;
  reinterpret_cast<sockaddr_in*>(any)->sin_port = htons(port);
  bytes.copy(address.data() + (bytes.size() == 4 ? 4 : 8), bytes.size());
  return address;
}

}  // namespace

std::string describe_end(const std::string& bytes, uint16_t port) {
  return describe_address(address_of(bytes, port));
}

namespace {

std::string describe_ends(const procfs::InetSocket& socket) {
  return fmt::format("{} to {}", describe_end(socket.local, socket.local_port),
                     describe_end(socket.remote, socket.remote_port));
}

// From the client to the end that nobody has accepted.
std::string describe_waiting(const WaitingConnection& one) {
  return fmt::format("{} to {}", describe_end(one.end.remote, one.end.remote_port),
                     describe_end(one.end.local, one.end.local_port));
}

// getpeername(2) does not tell it of one that is being opened.
std::string remote_of(const procfs::InetSocket& socket) {
  std::string address = address_of(socket.remote, socket.remote_port);
  sockaddr_in6 six{};
  if (address.size() != sizeof six) return address;
  std::memcpy(&six, address.data(), sizeof six);
  if (IN6_IS_ADDR_LINKLOCAL(&six.sin6_addr)) six.sin6_scope_id = socket.device;
  return {reinterpret_cast<const char*>(&six), sizeof six};
}

std::string count_of(uint32_t connections) {
  return fmt::format("{} connection{}", connections, connections == 1 ? "" : "s");
}

bool saves_connections(const DumpPolicy& policy) {
  return policy.tcp_established && !policy.tcp_close;
}

bool stays_outside(const DumpPolicy& policy, uint64_t inode) {
  return policy.external.contains(fmt::format("socket[{}]", inode));
}

std::optional<std::string> why_lost(const DumpPolicy& policy, const AcceptQueue& queue, const WaitingConnection& one) {
  if (one.client != 0 && stays_outside(policy, one.client)) return "its other end stays outside (--external)";
  return why_lost(queue, one);
}

void require_kept_queue(const procfs::InetSocket& listener, const OpenFiles& table) {
  const SocketTable& sockets = table.sockets();
  const AcceptQueue& queue = sockets.accept_queue(listener.inode);
  for (const WaitingConnection& one : queue.connections)
    if (const auto why = why_lost(table.policy(), queue, one); why && sockets.is_settled(one))
      refuse(fmt::format("the connection {} waits to be accepted, and {}", describe_waiting(one), *why),
             "dump again when the program has accepted it, or give --skip-in-flight to lose it");
  if (queue.unseen > 0 && (sockets.has_collected() || !queue.is_moving))
    refuse(fmt::format("{} at {} that wait{} to be accepted cannot be seen: reset by the other end, most likely",
                       count_of(queue.unseen), describe_end(listener.local, listener.local_port),
                       queue.unseen == 1 ? "s" : ""),
           "dump again when the program has accepted, or give --skip-in-flight to lose them");
}

void look_at_listener(const procfs::InetSocket& socket, const OpenFiles& table) {
  const DumpPolicy& policy = table.policy();
  if (socket.receive_queue == 0 || policy.skip_in_flight || policy.tcp_close) return;
  if (policy.tcp_established) return require_kept_queue(socket, table);
  refuse(fmt::format("{} at {} wait{} to be accepted", count_of(socket.receive_queue),
                     describe_end(socket.local, socket.local_port), socket.receive_queue == 1 ? "s" : ""),
         "dump again when the program has accepted, give --tcp-established to save those whose other ends are in the "
         "tree and have sent nothing, or give --skip-in-flight to lose them");
}

void look_at_opening(const procfs::InetSocket& socket, const DumpPolicy& policy) {
  if (policy.tcp_close) return;
  const bool has_data = socket.send_queue > 1;  // TCP_FASTOPEN: the SYN counts as one
  if (socket.state == tcp::kSynSent && policy.tcp_established && !has_data) return;
  if (policy.skip_in_flight) return;
  refuse(fmt::format("the connection {} is being opened", describe_ends(socket)),
         socket.state == tcp::kSynSent && !has_data
             ? "dump again when it is open, give --tcp-established to have it opened anew, or --skip-in-flight to "
               "save it closed"
             : "dump again when it is open, or give --skip-in-flight to save it closed");
}

uint16_t port_of(const std::string& address) {
  return static_cast<uint16_t>(static_cast<unsigned char>(address[2]) << 8 | static_cast<unsigned char>(address[3]));
}

void set_closed(image::TcpSocket& message) {
  message.set_closed(true);
  message.set_shutdown(kBothWays);
}

// The new connection has numbers, windows and times of its own.
void keep_as_waiting(image::TcpSocket& message) {
  if (!message.receive().data().empty() || message.received_fin())
    refuse("its connection was accepted and answered while it was read", "dump again");
  message.set_state(tcp::kEstablished);
  message.mutable_send()->clear_sequence();
  message.clear_receive(), message.clear_never_sent(), message.clear_window(), message.clear_lock_table();
  message.clear_mss(), message.clear_has_window_scale(), message.clear_send_scale(), message.clear_receive_scale();
  message.clear_selective_ack(), message.clear_timestamps(), message.clear_timestamp();
}

void dump_accept_queue(const procfs::InetSocket& socket, const OpenFiles& table, image::TcpSocket& message) {
  const DumpPolicy& policy = table.policy();
  message.set_backlog(static_cast<int>(socket.send_queue));
  const std::string at = describe_end(socket.local, socket.local_port);
  if (!saves_connections(policy)) {
    if (const uint32_t n = socket.receive_queue; n > 0)
      log::warning("kinds", "{} at {} that wait{} to be accepted will be lost", count_of(n), at, n == 1 ? "s" : "");
    return;
  }
  const AcceptQueue& queue = table.sockets().accept_queue(socket.inode);
  if (!policy.skip_in_flight) require_kept_queue(socket, table);
  for (const WaitingConnection& one : queue.connections) {
    if (const auto why = why_lost(policy, queue, one)) {
      log::warning("kinds", "The connection {} waits to be accepted and will be lost: {}", describe_waiting(one), *why);
      continue;
    }
    auto* pending = message.add_pending();
    pending->set_client(one.client);
    pending->set_half_open(one.half_open);
  }
  if (queue.unseen > 0) log::warning("kinds", "{} at {} that cannot be seen will be lost", count_of(queue.unseen), at);
  if (!queue.is_order_known && message.pending_size() > 1)
    log::warning(
        "kinds",
        "Some connections that wait to be accepted at {} have come at the same moment: the order in which they "
        "will be accepted is a guess",
        at);
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
    if (socket->state == tcp::kListen) return look_at_listener(*socket, table);
    if (!is_connected_state(socket->state)) return look_at_opening(*socket, policy);
    if (policy.tcp_close) return;
    if (!policy.tcp_established)
      refuse(fmt::format("it is an open connection, {}", describe_ends(*socket)),
             "give --tcp-established to save it, or --tcp-close to have it closed by the restore");
    if (!sys::has_capability(CAP_NET_ADMIN))
      refuse(fmt::format("it is an open connection, {}, which is read by TCP_REPAIR", describe_ends(*socket)),
             "CAP_NET_ADMIN is the right that is missing (docs/rights.md); or give --tcp-close");
    if (!policy.lock_table.empty() && !table.sockets().has_collected() && table.sockets().tcp_peer(*socket) == 0 &&
        table.sockets().tcp_listener_of(socket->inode) == 0)
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
    if (const auto remote = sys::peer_name(file.copy)) message.set_remote(*remote);
    if (is_connected_state(message.state()))
      dump_connection(file, table, socket, message);
    else if (state != tcp::kListen)
      dump_unconnected(file, table, socket, message);
    else if (socket)
      dump_accept_queue(*socket, table, message);
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

 private:
  static void dump_connection(const FileView& file, const OpenFiles& table, const procfs::InetSocket* socket,
                              image::TcpSocket& message) {
    drop_agreed_options(*message.mutable_common(), true);
    if (!saves_connections(table.policy())) return set_closed(message);
    // The other end's FIN has the same effect, and comes by itself.
    if (socket && !message.received_fin() && (socket->shutdown & kReceiving)) message.set_shutdown(kReceiving);
    const uint64_t inode = file.status.st_ino;
    if (!table.sockets().tcp_state(inode)) refuse("its connection was opened while it was read", "dump again");
    const uint64_t listener = table.sockets().tcp_listener_of(inode);
    if (listener == 0) return;
    if (stays_outside(table.policy(), listener))
      refuse("its connection waits to be accepted by a listener that stays outside (--external)",
             "dump again when it is accepted");
    const AcceptQueue& queue = table.sockets().accept_queue(listener);
    for (const WaitingConnection& one : queue.connections)
      if (one.client == inode) why_lost(queue, one) ? set_closed(message) : keep_as_waiting(message);
  }

  static void dump_unconnected(const FileView& file, const OpenFiles& table, const procfs::InetSocket* socket,
                               image::TcpSocket& message) {
    // What shows there is from that connection, and would be what the program asks of the next one.
    if (has_sent_segments(file.copy)) drop_agreed_options(*message.mutable_common(), false);
    const bool has_remote = socket && socket->remote_port != 0;
    if (message.state() == tcp::kSynSent && saves_connections(table.policy()) && has_remote && socket->send_queue <= 1)
      return message.set_remote(remote_of(*socket));
    message.set_state(tcp::kClose);
    if (message.common().domain() == AF_INET && !message.remote().empty()) message.set_bound(false);
  }
};

}  // namespace

const Kind* tcp_socket_kind() {
  static const TcpSocketKind kind;
  return &kind;
}

}  // namespace mcr::kinds
