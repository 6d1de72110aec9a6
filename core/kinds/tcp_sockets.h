// Restore: all TCP sockets of an image at once. Connections are in repair mode until start().
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/unique_fd.h"
#include "core/sys/keeper.h"
#include "images/proto/files.pb.h"
#include "images/proto/sockets.pb.h"

namespace mcr::kinds {

class OpenedFiles;

class TcpSockets {
 public:
  UniqueFd take(uint32_t id, OpenedFiles& table);
  // The processes are complete, and none runs yet. pidfd: of the first.
  void start(int pidfd);
  // None has run yet, but from now on they live, whatever becomes of us: packets of connections with others pass again.
  void go_on();
  void end();  // they run
  const std::set<std::string>& lock_tables() const { return lock_tables_; }

 private:
  struct Socket {
    uint32_t flags = 0;
    mcr::image::TcpSocket message;
    UniqueFd fd;
    bool is_connection = false;
    bool is_outside = false;  // its other end is not in the image
    bool is_waiting = false;  // a listener of the image has not accepted it
    bool is_opening = false;  // it is connected anew, and nobody waits for that
  };
  void load(const OpenedFiles& table);
  void make(Socket& socket);
  bool shares_address(const Socket& socket) const;
  void finish(Socket& socket);
  void note_outside_ends();
  void note_waiting();
  void make_anew(Socket& socket);
  void let_wait(Socket& listener);
  void end_halves(Socket& socket);

  bool is_made_ = false;
  std::map<uint32_t, Socket> sockets_;
  std::set<std::string> lock_tables_;  // present, to be removed
  UniqueFd filter_;                    // netlink socket of the keeper
  std::optional<sys::SocketKeeper> keeper_;
};

void check_tcp_socket(const mcr::image::TcpSocket& socket, const OpenedFiles& table, std::vector<Problem>& problems);
void check_tcp_record(const std::string& record, const mcr::image::TcpSocket& socket);
// That every connection that waits is one, and waits once. Throws Fault::image.
void check_waiting_connections(const OpenedFiles& table);

// A struct sockaddr_in or sockaddr_in6.
bool is_inet_address(const std::string& address);
std::string describe_end(const std::string& bytes, uint16_t port);  // of 4 or 16 bytes
std::string describe_address(const std::string& address);           // "127.0.0.1:80"
// Address and port, in the same order, as they stand in packets: an IPv4 address of an IPv6 socket has four bytes.
std::string plain_end(const std::string& address);

}  // namespace mcr::kinds
