// Dump: the sockets of the tree. Who is connected to whom (sock_diag(7)), and what waits in their queues.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/kinds/kind.h"
#include "core/kinds/packet_lock.h"
#include "core/kinds/tcp_waiting.h"
#include "core/procfs/socket_diag.h"
#include "core/sys/socket.h"
#include "images/proto/sockets.pb.h"

namespace mcr::kinds {

// One message of a queue, with the files that travel in it, open in the engine.
struct WaitingMessage {
  mcr::image::SocketMessage message;
  std::vector<int> files;
};

class SocketTable {
 public:
  // Forgets everything; the descriptors of the tree from now on.
  void begin();
  void note(const FileView& file, bool stays_outside);

  bool holds(uint64_t inode) const { return held_.contains(inode); }
  // nullptr: sock_diag does not know it.
  const procfs::UnixSocket* find_unix(uint64_t inode) const;
  const procfs::InetSocket* find_inet(uint64_t inode) const;
  const procfs::NetlinkSocket* find_netlink(uint64_t inode) const;
  // The listener in whose queue the client waits to be accepted; 0: none.
  uint64_t listener_of(uint64_t client) const;
  // The other end of a TCP connection, when the tree has it; 0: it has not.
  uint64_t tcp_peer(const procfs::InetSocket& socket) const;
  // Of TCP: those that wait at a listener of the tree, asked once before the freeze and once when all queues are read.
  const AcceptQueue& accept_queue(uint64_t listener) const;
  // Before the freeze a connection may be younger than what is known of the tree: it says nothing yet.
  bool is_settled(const WaitingConnection& connection) const;
  // The listener of the tree that has not accepted the connection of this client of the tree; 0: none.
  uint64_t tcp_listener_of(uint64_t client) const;
  // Another socket of this name that listens; 0: none.
  uint64_t listener_named(const procfs::UnixSocket& socket) const;
  // "4711 (cat)": a process outside of the tree that has the socket.
  std::string describe_holder(uint64_t inode, const std::set<HostPid>& tree) const;
  bool has_holder(uint64_t inode, const std::set<HostPid>& tree) const { return find_holder(inode, tree).has_value(); }

  // Frozen. Reads all queues; nothing is consumed, and nothing stays changed, even if the engine is killed meanwhile.
  // `pidfd_of`: of the process, by what FileView::pid says.
  // with_connections: those of TCP too. lock: the name of a table that keeps the packets of those away whose other end
  // is outside of the tree, from now until release(); after silence() for good. Empty: none.
  // hold: called at most once, with the inodes, before sockets are changed for a moment, in which those who have them
  // must not run whatever becomes of us.
  using Hold = std::function<void(const std::set<uint64_t>& inodes)>;
  void collect(const std::function<int(HostPid)>& pidfd_of, bool with_connections, const std::string& lock,
               const Hold& hold);
  bool has_collected() const { return has_collected_; }
  bool may_hold_more() const { return !has_collected_ && !held_.empty(); }
  const std::vector<WaitingMessage>& queue(uint64_t inode) const;
  const mcr::image::TcpSocket* tcp_state(uint64_t inode) const;
  // Files that only a message holds: sockets among them.
  const std::vector<UniqueFd>& in_flight() const { return in_flight_; }
  int copy(uint64_t inode) const;
  // The tree goes on: gives up all copies.
  void release();
  // While `kill` ends the tree: its TCP connections end without a word to the other ends.
  void silence(int pidfd, const std::function<void()>& kill);
  // Throws Fault::refused where packets cannot be kept away. Before the freeze; changes nothing.
  void require_lockable() const;

 private:
  struct Holder {
    HostPid pid;
    int fd = -1;
  };
  struct Diag {
    std::map<uint64_t, procfs::UnixSocket> unix_sockets;
    std::map<uint64_t, procfs::InetSocket> inet;
    std::map<uint64_t, procfs::NetlinkSocket> netlink;
    std::map<uint64_t, uint64_t> listeners;  // client -> listener
    std::multimap<std::string, uint64_t> tcp_ends;
    bool has_inet = false, has_netlink = false;
  };
  std::optional<std::string> find_holder(uint64_t inode, const std::set<HostPid>& tree) const;
  Diag& diag() const;
  void read_inet() const;
  const AcceptQueues& accept_queues() const;
  bool may_wait() const;
  void add_message(uint64_t inode, mcr::image::SocketMessage message, std::vector<UniqueFd> files);
  void read_round(std::vector<uint64_t> inodes);
  Hold hold_;
  std::vector<uint64_t> take_new_sockets();
  void lock_outside(const std::map<uint64_t, int>& connections);
  std::string lock_of(uint64_t inode) const;

  std::map<uint64_t, Holder> held_;
  std::set<uint64_t> external_;  // of those: nothing of what stays outside is read or changed
  std::chrono::steady_clock::time_point begun_;
  mutable std::unique_ptr<Diag> diag_;
  mutable std::optional<AcceptQueues> accept_queues_;
  bool has_collected_ = false, with_connections_ = false;
  size_t examined_ = 0;  // of in_flight_
  std::map<uint64_t, UniqueFd> copies_;
  std::map<uint64_t, std::vector<WaitingMessage>> queues_;
  std::map<uint64_t, mcr::image::TcpSocket> tcp_;
  std::vector<UniqueFd> in_flight_;
  std::string lock_name_;
  std::vector<PacketLock> locks_;
  std::map<uint64_t, ConnectionEnds> locked_;
  mutable bool is_lockable_ = false;
};

// "socket:[4711]" -> 4711.
bool is_socket(const FileView& file);

}  // namespace mcr::kinds
