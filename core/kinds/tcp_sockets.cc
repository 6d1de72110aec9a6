#include "core/kinds/tcp_sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "core/base/log.h"
#include "core/kinds/opened_files.h"
#include "core/kinds/packet_lock.h"
#include "core/kinds/socket_options.h"
#include "core/kinds/tcp_anew.h"
#include "core/kinds/tcp_repair.h"
#include "core/procfs/socket_diag.h"
#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/netlink.h"
#include "core/sys/socket.h"

namespace mcr::kinds {

bool is_inet_address(const std::string& address) {
  sa_family_t family = 0;
  if (address.size() < sizeof family) return false;
  std::memcpy(&family, address.data(), sizeof family);
  return (family == AF_INET && address.size() == sizeof(sockaddr_in)) ||
         (family == AF_INET6 && address.size() == sizeof(sockaddr_in6));
}

std::string describe_address(const std::string& address) {
  if (!is_inet_address(address)) return "?";
  char text[INET6_ADDRSTRLEN] = "?";
  if (address.size() == sizeof(sockaddr_in)) {
    sockaddr_in in{};
    std::memcpy(&in, address.data(), sizeof in);
    ::inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
    return fmt::format("{}:{}", text, ntohs(in.sin_port));
  }
  sockaddr_in6 in{};
  std::memcpy(&in, address.data(), sizeof in);
  ::inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text);
  return fmt::format("[{}]:{}", text, ntohs(in.sin6_port));
}

std::string plain_end(const std::string& address) {
  if (!is_inet_address(address)) return address;
  const std::string port = address.substr(2, 2);
  if (address.size() == sizeof(sockaddr_in)) return address.substr(4, 4) + port;
  const std::string bytes = address.substr(8, 16);
  in6_addr six{};
  std::memcpy(&six, bytes.data(), sizeof six);
  return (IN6_IS_ADDR_V4MAPPED(&six) ? bytes.substr(12) : bytes) + port;
}

UniqueFd TcpSockets::take(uint32_t id, OpenedFiles& table) {
  if (!is_made_) {
    is_made_ = true;
    load(table);
    // Listeners first: a connection is bound beside them whatever they allow, in repair mode.
    for (const bool connections : {false, true})
      for (auto& [number, socket] : sockets_) {
        const Step step("tcp socket, object {}", number);
        if (socket.is_connection == connections) make(socket);
      }
    for (auto& [number, socket] : sockets_)
      if (shares_address(socket))
        sys::set_int_option(socket.fd.get(), SOL_SOCKET, SO_REUSEPORT,
                            int_option_of(socket.message.common(), SOL_SOCKET, SO_REUSEPORT, 0));
    for (auto& [number, socket] : sockets_) let_wait(socket);
  }
  const auto found = sockets_.find(id);
  if (found == sockets_.end()) throw Error(Fault::image, "its record is unreadable");
  return sys::duplicate(found->second.fd.get());
}

void TcpSockets::load(const OpenedFiles& table) {
  for (const auto& [id, object] : table.objects()) {
    image::TcpSocket message;
    if (!object.body().Is<image::TcpSocket>() || !object.body().UnpackTo(&message)) continue;
    Socket& socket = sockets_[id];
    socket.flags = object.flags();
    socket.is_connection = is_connected_state(message.state()) && !message.closed() && !table.policy().tcp_close;
    if (!message.lock_table().empty() && table.policy().lock_network) lock_tables_.insert(message.lock_table());
    socket.is_opening = message.state() == tcp::kSynSent && !table.policy().tcp_close;
    socket.message = std::move(message);
  }
  if (!table.policy().tcp_close) note_waiting();
  note_outside_ends();
  std::erase_if(lock_tables_, [](const std::string& lock) {
    if (has_lock(lock)) return false;
    log::warning("kinds",
                 "The packets of TCP connections are no longer kept away (table inet {} is gone): the other ends may "
                 "have been told that there is nobody",
                 lock);
    return true;
  });
}

void TcpSockets::note_outside_ends() {
  std::set<std::pair<std::string, std::string>> ends;
  for (const auto& [id, socket] : sockets_)
    if (socket.is_connection) ends.emplace(plain_end(socket.message.local()), plain_end(socket.message.remote()));
  for (auto& [id, socket] : sockets_)
    socket.is_outside =
        socket.is_connection && !ends.contains({plain_end(socket.message.remote()), plain_end(socket.message.local())});
}

namespace {

// Of an image, what this socket cannot be told. TCP_FASTOPEN_CONNECT puts connect(2) off until the first data, in
// repair mode too; a connection has it behind itself. SO_TIMESTAMPING counts (OPT_ID, OPT_ID_TCP) in a connection only.
void drop_impossible_options(image::SocketCommon& common, bool is_connection) {
  constexpr int kFastOpenConnect = 30, kTimestamping = 37, kTimestampingNew = 65;
  constexpr uint32_t kCounts = 1 << 7 | 1 << 16;
  auto& options = *common.mutable_options();
  for (int i = options.size(); i-- > 0;) {
    const int level = options[i].level(), name = options[i].name();
    if (is_connection && level == IPPROTO_TCP && name == kFastOpenConnect) options.DeleteSubrange(i, 1);
    if (is_connection || level != SOL_SOCKET || (name != kTimestamping && name != kTimestampingNew)) continue;
    std::string& value = *options[i].mutable_value();
    uint32_t flags = 0;
    if (value.size() < sizeof flags) continue;
    std::memcpy(&flags, value.data(), sizeof flags);
    flags &= ~kCounts;
    std::memcpy(value.data(), &flags, sizeof flags);
  }
}

}  // namespace
void TcpSockets::note_waiting() {
  std::set<uint64_t> clients;
  for (const auto& [id, socket] : sockets_)
    for (const auto& pending : socket.message.pending()) clients.insert(pending.client());
  for (auto& [id, socket] : sockets_)
    if (clients.contains(socket.message.common().inode())) socket.is_waiting = true, socket.is_connection = false;
}

void TcpSockets::make_anew(Socket& socket) {
  const Step step("{} to {}", describe_address(socket.message.local()), describe_address(socket.message.remote()));
  grow_socket_buffers(socket.fd.get());
  shrink_receive_buffer(socket.fd.get(), socket.message.common());
  bind_anew(socket.fd.get(), socket.message);
}

void TcpSockets::let_wait(Socket& listener) {
  const image::TcpSocket& m = listener.message;
  std::map<uint64_t, Socket*> clients;
  if (m.pending_size() != 0)
    for (auto& [id, socket] : sockets_)
      if (socket.is_waiting) clients[socket.message.common().inode()] = &socket;
  if (clients.empty()) return;
  OpenQueue queue(listener.fd.get(), m);
  for (const auto& pending : m.pending()) {
    Socket& client = *clients.at(pending.client());
    queue.add(client.fd.get(), client.message, pending.half_open());
    if (client.message.shutdown() & 1) (void)sys::try_shutdown(client.fd.get(), SHUT_RD);
    finish(client);
  }
  queue.close();
}

void TcpSockets::make(Socket& socket) {
  drop_impossible_options(*socket.message.mutable_common(), socket.is_connection || socket.is_waiting);
  const image::TcpSocket& m = socket.message;
  socket.fd = sys::make_socket({m.common().domain(), SOCK_STREAM, IPPROTO_TCP});
  const int fd = socket.fd.get();
  set_socket_options(fd, m.common(), OptionTime::early);
  sys::set_int_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);  // what has just been closed may still be remembered there
  if (socket.is_connection) {
    const Step step("{} to {}", describe_address(m.local()), describe_address(m.remote()));
    grow_socket_buffers(fd);
    make_tcp_connection(fd, m);
    return shrink_receive_buffer(fd, m.common());
  }
  if (socket.is_waiting || socket.is_opening) return make_anew(socket);
  if (m.bound() && !is_connected_state(m.state())) {
    const Step step("{}", describe_address(m.local()));
    // Others of the image may share the address, whatever they allow by now.
    if (shares_address(socket)) sys::set_int_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    // One that has ended only shows its address, which the kernel may keep for a minute (TIME_WAIT).
    if (m.state() == tcp::kClose && m.shutdown() == 3)
      bind_anew(fd, m);
    else if (const int code = try_bind_inet(fd, m.local(), m.foreign()); code != 0)
      sys::throw_code(code, "bind");
  }
  if (m.state() == tcp::kListen) sys::listen_on(fd, m.backlog());
  const bool is_closed = is_connected_state(m.state());  // by --tcp-close, of the dump or of this restore
  if (const uint32_t ways = is_closed ? 3 : m.shutdown(); ways != 0)
    (void)sys::try_shutdown(fd, static_cast<int>(ways) - 1);  // ENOTCONN, and done all the same
  finish(socket);
}

bool TcpSockets::shares_address(const Socket& socket) const {
  const auto is_bound = [](const image::TcpSocket& m) { return m.bound() && !is_connected_state(m.state()); };
  return std::ranges::count_if(sockets_, [&](const auto& entry) {
           const image::TcpSocket& m = entry.second.message;
           return is_bound(m) && m.local() == socket.message.local();
         }) > 1;
}

void TcpSockets::finish(Socket& socket) {
  set_socket_options(socket.fd.get(), socket.message.common(), OptionTime::late);
  sys::set_status_flags(socket.fd.get(), static_cast<int>(socket.flags));
}

// Inside the tree each end sends its end again. Which of two ends came first makes the state (TCP_LAST_ACK, CLOSING).
void TcpSockets::end_halves(Socket& socket) {
  const image::TcpSocket& m = socket.message;
  const bool arrives = socket.is_outside && m.received_fin();
  if (arrives && m.state() != tcp::kClosing) receive_tcp_end(socket.fd.get(), m);
  if (m.shutdown() & 1) (void)sys::try_shutdown(socket.fd.get(), SHUT_RD);
  if (m.sent_fin()) (void)sys::try_shutdown(socket.fd.get(), SHUT_WR);
  if (arrives && m.state() == tcp::kClosing) receive_tcp_end(socket.fd.get(), m);
}

void TcpSockets::start(int pidfd) {
  std::vector<int> connections;
  sys::KeptNetwork network;
  for (auto& [id, socket] : sockets_) {
    if (!socket.is_opening) continue;
    sys::set_status_flags(socket.fd.get(), O_NONBLOCK);
    open_anew(socket.fd.get(), socket.message);
    finish(socket);
  }
  for (auto& [id, socket] : sockets_) {
    if (socket.is_connection) connections.push_back(socket.fd.get());
    if (socket.is_outside) network.woken.push_back(socket.fd.get());
  }
  for (const std::string& lock : lock_tables_) network.when_alive.push_back(unlock_batch(lock));
  if (!lock_tables_.empty()) filter_ = sys::open_netlink(NETLINK_NETFILTER);
  network.socket = filter_.get();
  if (connections.empty() && lock_tables_.empty()) return;
  keeper_.emplace(connections, pidfd, network);
  for (auto& [id, socket] : sockets_)
    if (socket.is_connection) start_tcp_connection(socket.fd.get(), socket.message);
  for (auto& [id, socket] : sockets_) {
    if (!socket.is_connection) continue;
    const Step step("tcp socket, object {}", id);
    end_halves(socket);
    finish(socket);
  }
}

void TcpSockets::go_on() {
  if (!keeper_) return;
  keeper_->tell_alive();
  for (const std::string& lock : lock_tables_) (void)remove_lock(lock);
  for (const auto& [id, socket] : sockets_)
    if (socket.is_outside) sys::wake_connection(socket.fd.get());
}

void TcpSockets::end() {
  if (keeper_) keeper_->release();
  keeper_.reset();
  sockets_.clear();
}

}  // namespace mcr::kinds
