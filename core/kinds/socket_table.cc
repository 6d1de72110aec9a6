#include "core/kinds/socket_table.h"

#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>

#include <algorithm>
#include <cctype>

#include "core/base/log.h"
#include "core/kinds/outsiders.h"
#include "core/kinds/tcp_repair.h"
#include "core/sys/file.h"
#include "core/sys/keeper.h"
#include "core/sys/netlink.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

constexpr uint16_t kByFamily = 20;  // SOCK_DIAG_BY_FAMILY
constexpr int kListening = 10;

std::string tuple(const std::string& from, uint16_t from_port, const std::string& to, uint16_t to_port) {
  return fmt::format("{}/{}/{}/{}", from, from_port, to, to_port);
}

// An IPv4 connection of an IPv6 socket: both of its ends may be written either way.
std::string plain(const std::string& address) {
  static const std::string kMapped("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
  return address.size() == 16 && address.starts_with(kMapped) ? address.substr(12) : address;
}

}  // namespace

bool is_socket(const FileView& file) {
  return S_ISSOCK(file.status.st_mode) && file.link.starts_with("socket:[");
}

void SocketTable::begin() {
  release();
  held_.clear(), external_.clear();
  begun_ = std::chrono::steady_clock::now();
  diag_.reset();
  accept_queues_.reset();
  queues_.clear();
  tcp_.clear();
  has_collected_ = false;
}

void SocketTable::note(const FileView& file, bool stays_outside) {
  if (!is_socket(file)) return;
  held_.try_emplace(file.status.st_ino, Holder{file.pid, file.fd});
  if (stays_outside) external_.insert(file.status.st_ino);
}

SocketTable::Diag& SocketTable::diag() const {
  if (diag_) return *diag_;
  diag_ = std::make_unique<Diag>();
  for (const auto& message : sys::netlink_dump(NETLINK_SOCK_DIAG, kByFamily, procfs::unix_diag_request())) {
    auto socket = procfs::parse_unix_diag(message);
    if (!socket) continue;
    for (const uint64_t client : socket->pending) diag_->listeners[client] = socket->inode;
    diag_->unix_sockets[socket->inode] = std::move(*socket);
  }
  return *diag_;
}

void SocketTable::read_inet() const {
  Diag& all = diag();
  if (all.has_inet) return;
  all.has_inet = true;
  for (const int protocol : {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE})
    for (const int family : {AF_INET, AF_INET6})
      for (const auto& message :
           sys::netlink_dump(NETLINK_SOCK_DIAG, kByFamily, procfs::inet_diag_request(family, protocol))) {
        auto socket = procfs::parse_inet_diag(message, protocol);
        if (!socket || socket->inode == 0) continue;
        if (protocol == IPPROTO_TCP && socket->state != kListening)
          all.tcp_ends.emplace(
              tuple(plain(socket->local), socket->local_port, plain(socket->remote), socket->remote_port),
              socket->inode);
        all.inet[socket->inode] = std::move(*socket);
      }
}

const procfs::UnixSocket* SocketTable::find_unix(uint64_t inode) const {
  const auto found = diag().unix_sockets.find(inode);
  return found == diag().unix_sockets.end() ? nullptr : &found->second;
}
const procfs::InetSocket* SocketTable::find_inet(uint64_t inode) const {
  read_inet();
  const auto found = diag().inet.find(inode);
  return found == diag().inet.end() ? nullptr : &found->second;
}
const procfs::NetlinkSocket* SocketTable::find_netlink(uint64_t inode) const {
  Diag& all = diag();
  if (!all.has_netlink)
    for (const auto& message : sys::netlink_dump(NETLINK_SOCK_DIAG, kByFamily, procfs::netlink_diag_request()))
      if (auto socket = procfs::parse_netlink_diag(message)) all.netlink[socket->inode] = std::move(*socket);
  all.has_netlink = true;
  const auto found = all.netlink.find(inode);
  return found == all.netlink.end() ? nullptr : &found->second;
}

uint64_t SocketTable::listener_of(uint64_t client) const {
  const auto found = diag().listeners.find(client);
  return found == diag().listeners.end() ? 0 : found->second;
}

uint64_t SocketTable::tcp_peer(const procfs::InetSocket& socket) const {
  read_inet();
  const auto [first, last] = diag().tcp_ends.equal_range(
      tuple(plain(socket.remote), socket.remote_port, plain(socket.local), socket.local_port));
  for (auto at = first; at != last; ++at)
    if (holds(at->second) && at->second != socket.inode) return at->second;
  return 0;
}

// Otherwise no connection need be looked at twice: there may be very many of others.
bool SocketTable::may_wait() const {
  return std::ranges::any_of(held_, [&](const auto& entry) {
    const procfs::InetSocket* socket = find_inet(entry.first);
    if (!socket || socket->protocol != IPPROTO_TCP) return false;
    return socket->state == kListening ? socket->receive_queue != 0
                                       : socket->remote_port != 0 && tcp_peer(*socket) == 0;
  });
}

const AcceptQueues& SocketTable::accept_queues() const {
  if (accept_queues_) return *accept_queues_;
  if (!may_wait())
    accept_queues_.emplace();
  else
    accept_queues_ = read_accept_queues([&](uint64_t inode) { return holds(inode); },
                                        [&](const procfs::InetSocket& end) { return tcp_peer(end); });
  return *accept_queues_;
}

const AcceptQueue& SocketTable::accept_queue(uint64_t listener) const {
  static const AcceptQueue none;
  const auto found = accept_queues().find(listener);
  return found == accept_queues().end() ? none : found->second;
}

bool SocketTable::is_settled(const WaitingConnection& connection) const {
  constexpr std::chrono::milliseconds kTicks{20};
  if (has_collected_ || connection.client != 0) return true;
  return std::chrono::milliseconds(connection.end.sent_ago.value_or(0)) >
         std::chrono::steady_clock::now() - begun_ + kTicks;
}

uint64_t SocketTable::tcp_listener_of(uint64_t client) const {
  for (const auto& [listener, queue] : accept_queues())
    if (std::ranges::any_of(queue.connections, [&](const WaitingConnection& one) { return one.client == client; }))
      return listener;
  return 0;
}

uint64_t SocketTable::listener_named(const procfs::UnixSocket& socket) const {
  for (const auto& [inode, other] : diag().unix_sockets)
    if (other.state == kListening && inode != socket.inode && other.name == socket.name && other.type == socket.type)
      return inode;
  return 0;
}

std::string SocketTable::describe_holder(uint64_t inode, const std::set<HostPid>& tree) const {
  return find_holder(inode, tree).value_or("a process that cannot be seen");
}

std::optional<std::string> SocketTable::find_holder(uint64_t inode, const std::set<HostPid>& tree) const {
  const std::string link = fmt::format("socket:[{}]", inode);
  for (const std::string& name : sys::list_directory("/proc")) {
    if (!std::ranges::all_of(name, [](unsigned char c) { return std::isdigit(c); })) continue;
    const auto fds = sys::try_list_directory("/proc/" + name + "/fd");
    if (!fds) continue;  // gone, or not ours to see
    for (const std::string& fd : *fds) {
      if (sys::try_read_link("/proc/" + name + "/fd/" + fd) != link) continue;
      if (!Outsiders::is_outside({HostPid(std::stoi(name)), std::stoi(fd)}, link, tree)) continue;
      auto comm = sys::try_read_text("/proc/" + name + "/comm").value_or("?");
      std::erase(comm, '\n');
      return fmt::format("{} ({})", name, comm);
    }
  }
  return std::nullopt;
}

const std::vector<WaitingMessage>& SocketTable::queue(uint64_t inode) const {
  static const std::vector<WaitingMessage> none;
  const auto found = queues_.find(inode);
  return found == queues_.end() ? none : found->second;
}
const image::TcpSocket* SocketTable::tcp_state(uint64_t inode) const {
  const auto found = tcp_.find(inode);
  return found == tcp_.end() ? nullptr : &found->second;
}
int SocketTable::copy(uint64_t inode) const {
  const auto found = copies_.find(inode);
  return found == copies_.end() ? -1 : found->second.get();
}

void SocketTable::require_lockable() const {
  if (is_lockable_) return;
  const PacketLock probe(fmt::format("mini-criu-probe-{}", sys::own_pid()), {});
  is_lockable_ = true;
}

std::string SocketTable::lock_of(uint64_t inode) const {
  return locked_.contains(inode) ? lock_name_ : std::string();
}

// Before they are read: what is acknowledged after that would be in no image, and the other end would not send it
// again.
void SocketTable::lock_outside(const std::map<uint64_t, int>& connections) {
  if (lock_name_.empty()) return;
  std::vector<ConnectionEnds> outside;
  for (const auto& [inode, fd] : connections) {
    const procfs::InetSocket* known = find_inet(inode);
    const auto remote = sys::peer_name(fd);
    if (!remote || (known && (tcp_peer(*known) != 0 || tcp_listener_of(inode) != 0))) continue;
    outside.push_back(locked_[inode] = {sys::socket_name(fd), *remote});
  }
  if (!outside.empty()) locks_.emplace_back(fmt::format("{}-dump{}", lock_name_, locks_.size()), outside);
}

// In repair mode only when the tree has ended: should we be killed before, it does not live with such sockets. Should
// we be killed after that, the keeper does it. The lock that stays is there before the end, and the keeper removes it
// should the program live.
void SocketTable::silence(int pidfd, const std::function<void()>& kill) {
  std::vector<int> connections;
  for (const auto& [inode, state] : tcp_)
    if (copy(inode) >= 0) connections.push_back(copy(inode));
  std::vector<ConnectionEnds> locked;
  for (const auto& [inode, ends] : locked_) locked.push_back(ends);
  std::optional<sys::SocketKeeper> keeper;
  sys::KeptNetwork network;
  if (!locked.empty()) network = {locks_.front().socket(), {}, {unlock_batch(lock_name_)}, {}};
  if (!connections.empty()) keeper.emplace(connections, pidfd, network);
  if (!locked.empty()) add_lock(lock_name_, locked);
  kill();
  for (const int fd : connections)
    if (!silence_tcp_connection(fd)) log::warning("kinds", "a TCP connection could not be closed silently");
  if (keeper) keeper->release();
  keeper.reset();
  if (!locked.empty()) log::message("kinds", "Until it is restored, {}", describe_lock(lock_name_));
  release();
}

void SocketTable::release() {
  copies_.clear();
  in_flight_.clear();
  examined_ = 0;
  locks_.clear();
  locked_.clear();
}

}  // namespace mcr::kinds
