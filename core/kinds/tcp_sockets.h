// Restore: all TCP sockets of an image at once. Connections are in repair mode until start().
#pragma once

#include <map>
#include <memory>
#include <optional>
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
  void end();  // they run

 private:
  struct Socket {
    uint32_t flags = 0;
    mcr::image::TcpSocket message;
    UniqueFd fd;
    bool is_connection = false;
  };
  void load(const OpenedFiles& table);
  void make(Socket& socket);
  void finish(Socket& socket);

  bool is_made_ = false;
  std::map<uint32_t, Socket> sockets_;
  std::optional<sys::SocketKeeper> keeper_;
};

void check_tcp_socket(const mcr::image::TcpSocket& socket, const OpenedFiles& table, std::vector<Problem>& problems);
void check_tcp_record(const std::string& record, const mcr::image::TcpSocket& socket);

// A struct sockaddr_in or sockaddr_in6.
bool is_inet_address(const std::string& address);
std::string describe_address(const std::string& address);  // "127.0.0.1:80"

}  // namespace mcr::kinds
