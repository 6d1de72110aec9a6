// Answers of sock_diag(7) to structs: pure functions, fuzzed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mcr::procfs {

struct UnixSocket {
  uint64_t inode = 0;
  int type = 0;
  int state = 0;                             // TCP_ESTABLISHED, TCP_LISTEN, TCP_CLOSE
  std::optional<std::string> name;           // the bytes of sun_path; abstract ones begin with a zero byte
  uint32_t file_inode = 0, file_device = 0;  // of the socket file (kernel's encoding of the device); 0: none
  bool has_peer = false;
  uint64_t peer = 0;                 // inode; 0 with has_peer: closed, or not accepted yet
  std::vector<uint64_t> pending;     // of a listener: inodes of those that wait to be accepted, in their order
  uint32_t queued = 0, backlog = 0;  // of a listener: waiting, allowed to wait; else bytes to be read, bytes sent
  unsigned shutdown = 0;             // 1: receiving, 2: sending
};

struct InetSocket {
  uint64_t inode = 0;
  int family = 0, protocol = 0, state = 0;
  std::string local, remote;  // address bytes, 4 or 16
  uint16_t local_port = 0, remote_port = 0;
  uint32_t device = 0;
  uint32_t receive_queue = 0, send_queue = 0;  // of a listener: waiting, allowed to wait
  unsigned shutdown = 0;
  std::optional<uint32_t> sent_ago;  // ms since it last sent data, of a TCP socket that never has: since it was made
};

struct NetlinkSocket {
  uint64_t inode = 0;
  int protocol = 0;
  uint32_t portid = 0, remote_portid = 0, remote_group = 0;
  std::string groups;  // a bit a group, from 1 on
};

// `message` is one whole netlink message. nullopt: not of this kind, or cut short.
std::optional<UnixSocket> parse_unix_diag(std::string_view message);
std::optional<InetSocket> parse_inet_diag(std::string_view message, int protocol);
std::optional<NetlinkSocket> parse_netlink_diag(std::string_view message);

// What follows the netlink header of a request for all of them.
std::string unix_diag_request();
std::string inet_diag_request(int family, int protocol);
// Of TCP, with sent_ago. states: a bit a state (1 << TCP_LISTEN).
std::string tcp_diag_request(int family, uint32_t states);
std::string netlink_diag_request();

}  // namespace mcr::procfs
