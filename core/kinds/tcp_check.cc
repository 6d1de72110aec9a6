// What an image says of TCP sockets: whether it can be so, and whether this host has room for it.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "core/kinds/address_check.h"
#include "core/kinds/host_sockets.h"
#include "core/kinds/opened_files.h"
#include "core/kinds/packet_lock.h"
#include "core/kinds/socket_options.h"
#include "core/kinds/tcp_repair.h"
#include "core/kinds/tcp_sockets.h"

namespace mcr::kinds {
namespace {

constexpr int kMostWaiting = 65'536;  // more than one of any backlog (listen(2))

[[noreturn]] void fail(const std::string& record, const std::string& what) {
  throw Error(Fault::image, fmt::format("files.img: {}: {}", record, what),
              "the image is damaged or was made by a faulty program");
}

std::string port_of(const std::string& address) {
  return address.substr(2, 2);
}

bool can_wait(const image::TcpSocket& client) {
  return client.state() == tcp::kEstablished && !client.closed() && client.never_sent() == 0 &&
         !client.received_fin() && client.receive().data().empty();
}

}  // namespace

void check_waiting_connections(const OpenedFiles& table) {
  std::map<uint64_t, image::TcpSocket> sockets;
  std::vector<uint64_t> listeners;
  std::optional<uint32_t> twice;
  for (const auto& [id, object] : table.objects()) {
    image::TcpSocket message;
    if (!object.body().Is<image::TcpSocket>() || !object.body().UnpackTo(&message)) continue;
    const uint64_t inode = message.common().inode();
    if (message.pending_size() != 0) listeners.push_back(inode);
    if (!sockets.emplace(inode, std::move(message)).second) twice = id;
  }
  if (twice && !listeners.empty()) fail(fmt::format("object {}", *twice), "another socket has its inode");
  std::set<uint64_t> seen;
  for (const uint64_t inode : listeners) {
    const image::TcpSocket& listener = sockets.at(inode);
    for (const auto& pending : listener.pending()) {
      const auto client = sockets.find(pending.client());
      const auto bad = [&](const char* what) {
        fail("the listener at " + describe_address(listener.local()),
             fmt::format("socket {} waits there, {}", pending.client(), what));
      };
      if (client == sockets.end()) bad("which is not in the image");
      if (!seen.insert(pending.client()).second) bad("and once more");
      if (!can_wait(client->second)) bad("which cannot be so");
      if (port_of(client->second.remote()) != port_of(listener.local())) bad("and is connected elsewhere");
    }
  }
}

void check_tcp_record(const std::string& record, const image::TcpSocket& socket) {
  const auto bad = [&](const std::string& what) { fail(record, what); };
  check_socket_record(record, socket.common());
  const int domain = socket.common().domain();
  if (domain != AF_INET && domain != AF_INET6) bad("domain cannot be so");
  if (socket.state() < tcp::kEstablished || socket.state() > 12) bad("state cannot be so");
  if (!is_inet_address(socket.local())) bad("local cannot be so");
  if (is_connected_state(socket.state()) && !socket.closed() && !is_inet_address(socket.remote()))
    bad("remote cannot be so");
  if (socket.never_sent() > socket.send().data().size()) bad("never_sent cannot be so");
  if (socket.send_scale() > 14 || socket.receive_scale() > 14) bad("a window scale cannot be so");
  if (!socket.window().empty() && socket.window().size() != sizeof(tcp_repair_window)) bad("window cannot be so");
  if (socket.backlog() < 0) bad("backlog cannot be so");
  if (socket.shutdown() > 3) bad("shutdown cannot be so");
  const bool is_opening = socket.state() == tcp::kSynSent;
  if (is_opening && !is_inet_address(socket.remote())) bad("remote cannot be so");
  if (socket.pending_size() != 0 && (socket.state() != tcp::kListen || socket.pending_size() > kMostWaiting))
    bad("pending cannot be so");
  if (!socket.lock_table().empty() && !is_lock_name(socket.lock_table())) bad("lock_table cannot be so");
}

void check_tcp_socket(const image::TcpSocket& socket, const OpenedFiles& table, std::vector<Problem>& problems) {
  if (!socket.bound() || (is_connected_state(socket.state()) && (socket.closed() || table.policy().tcp_close))) return;
  check_address(socket.local(), socket.foreign(), problems);
  const bool listens = socket.state() == tcp::kListen;
  const bool connected = is_connected_state(socket.state());
  const std::string ours = describe_address(socket.local()), theirs = describe_address(socket.remote());
  const auto [first, last] = table.host_sockets().tcp(socket.common().domain()).equal_range(ours);
  for (auto entry = first; entry != last; ++entry) {
    const HostSockets::Tcp& other = entry->second;
    const bool alone = socket.pending_size() != 0 || int_option_of(socket.common(), SOL_SOCKET, SO_REUSEPORT, 0) == 0;
    if (listens && other.state == tcp::kListen && alone)
      return problems.push_back({ours, fmt::format("another socket listens there (inode {})", other.inode),
                                 "end the program that has it (ss -ltnp names it)"});
    if (connected && other.remote == theirs)
      return problems.push_back({fmt::format("{} to {}", ours, theirs),
                                 fmt::format("this connection is there already (inode {})", other.inode),
                                 "end the program that has it (ss -tnp names it)"});
  }
}

}  // namespace mcr::kinds
