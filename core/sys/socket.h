// Checked socket calls. Addresses and values of options are bytes, as the kernel has them. Throws Error unless said
// otherwise. Any thread, but AssumedIds and AssumedPlace: main thread only.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/unique_fd.h"

namespace mcr::sys {

struct SocketType {
  int domain = 0, type = 0, protocol = 0;
};
SocketType type_of_socket(int fd);

// The kernel's name of the protocol ("UNIX-STREAM", "TCPv6"), of whatever a path under /proc leads to, without opening
// it. nullopt: not a socket.
std::optional<std::string> protocol_name(const std::string& door);

UniqueFd make_socket(const SocketType& type);
std::pair<UniqueFd, UniqueFd> make_socket_pair(int type);
UniqueFd accept_connection(int fd);
std::string socket_name(int fd);               // getsockname(2)
std::optional<std::string> peer_name(int fd);  // nullopt: it is not connected
void bind_socket(int fd, std::string_view address);
int try_bind_socket(int fd, std::string_view address);     // 0, or errno
void connect_socket(int fd, std::string_view address);     // of a non-blocking one: under way is done
int try_connect_socket(int fd, std::string_view address);  // 0, or errno
void listen_on(int fd, int backlog);
int try_shutdown(int fd, int how);  // 0, or errno
// The file that a unix socket was bound to, O_PATH, whatever its name is now (SIOCUNIXFILE, 4.14). Not valid: there is
// none, or CAP_NET_ADMIN is missing.
UniqueFd try_open_socket_file(int fd);

// nullopt: this socket does not have the option.
std::optional<std::string> try_get_option(int fd, int level, int name, size_t room = 256);
int get_int_option(int fd, int level, int name);
int try_set_option(int fd, int level, int name, std::string_view value);  // 0, or errno
void set_option(int fd, int level, int name, std::string_view value);
void set_int_option(int fd, int level, int name, int value);
std::optional<std::string> try_get_filter(int fd);  // struct sock_filter, one after the other; nullopt: not classic BPF
int try_attach_filter(int fd, std::string_view program);
bool has_error(int fd);        // SO_ERROR would tell one; it stays
int bytes_to_read(int fd);     // SIOCINQ; of datagrams: of the first
int bytes_unsent(int fd);      // SIOCOUTQ: written, and not yet acknowledged (TCP) or read (UNIX)
int bytes_never_sent(int fd);  // SIOCOUTQNSD, TCP

struct SocketCredentials {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};
// How a datagram of IP has come, as far as the socket asks for it (ip(7), ipv6(7), udp(7)).
struct Arrival {
  std::string destination;  // address bytes, 4 or 16; empty: not known
  uint32_t interface = 0;
  std::optional<int> hops, traffic_class;
  size_t segment = 0;  // UDP_GRO: it is several datagrams of this many bytes, the last perhaps shorter; 0: it is one
};
struct SocketMessage {
  std::string data, address;  // address: whom it came from, or goes to; may be empty
  std::vector<UniqueFd> files;
  std::optional<SocketCredentials> credentials;
  bool end_of_record = false;  // MSG_EOR
  bool truncated = false;      // MSG_TRUNC
  bool is_stamped = false;     // it came with a time (SO_TIMESTAMP)
  Arrival arrival;
};
// What lies in the queue, not taken out (MSG_PEEK), without waiting. nullopt: nothing. An end of file is an empty
// message.
std::optional<SocketMessage> try_peek(int fd, size_t room);
// The same by way of a buffer of the caller's, the room: what is found takes no more memory than its bytes.
std::optional<SocketMessage> try_peek(int fd, std::span<char> buffer);
// flags: MSG_*. Returns 0 or errno; all of it is sent, or nothing.
int try_send(int fd, const SocketMessage& message, std::span<const int> files, int flags = 0);

struct LocalAddress {
  uint32_t interface = 0;
  std::string bytes;  // 4 or 16
};
std::vector<LocalAddress> local_addresses();  // getifaddrs(3)
struct LoopbackState {
  bool is_up = false;
  size_t mtu = 0;
};
LoopbackState loopback_state();  // netdevice(7)

// Other effective ids and groups for this thread while it lives.
class AssumedIds {
 public:
  AssumedIds(uid_t uid, gid_t gid, std::span<const gid_t> groups);
  ~AssumedIds();
  AssumedIds(const AssumedIds&) = delete;
  AssumedIds& operator=(const AssumedIds&) = delete;

 private:
  std::vector<gid_t> groups_;
  uid_t uid_;
  gid_t gid_;
};

// Another working directory, and another root, while it lives.
class AssumedPlace {
 public:
  // root: empty for the present one. folder: absolute, inside that root.
  AssumedPlace(const std::string& root, const std::string& folder);
  // The scratch is root; in it the folders that lead to `path`, which may be relative to a folder of its own.
  AssumedPlace(int scratch, const std::string& path);
  ~AssumedPlace();
  AssumedPlace(const AssumedPlace&) = delete;
  AssumedPlace& operator=(const AssumedPlace&) = delete;

 private:
  void go_back();
  UniqueFd old_root_, old_folder_;
};

}  // namespace mcr::sys
