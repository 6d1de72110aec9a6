// Restore: all unix sockets of an image at once, as most of them have another one to be connected to.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/sys/socket.h"
#include "images/proto/files.pb.h"
#include "images/proto/sockets.pb.h"

namespace mcr {
struct Problem;
}

namespace mcr::kinds {

class OpenedFiles;

class UnixSockets {
 public:
  // The object's descriptor. The first call makes all sockets, with what waits in their queues.
  UniqueFd take(uint32_t id, OpenedFiles& table);
  void close_all() { sockets_.clear(), by_inode_.clear(); }

 private:
  struct Socket {
    uint32_t flags = 0;
    mcr::image::UnixSocket message;
    UniqueFd fd;
    UniqueFd stand_in;  // for a peer that nobody has any more
    bool bound = false;
    int aside = 0;  // its path is there only for us, in the scratch
    bool connected = false;
  };
  void load(const OpenedFiles& table);
  void make_all(OpenedFiles& table);
  void make_connected(Socket& socket);
  void make_pair(Socket& one, Socket& other);
  void make_accepted(Socket& client, Socket& server);
  void make_widowed(Socket& socket);
  struct Ends {
    UniqueFd client, server;
    int aside = 0;
  };
  // Each end sees of the other the ids that its message has.
  Ends connect_by_name(const std::string& name, const mcr::image::UnixSocket& client,
                       const mcr::image::UnixSocket& server, const std::string& client_name);
  void name_stand_in(Socket& socket);
  size_t sent_by_others(const Socket& socket);
  void bind_elsewhere(Socket& socket);
  void make_alone(Socket& socket);
  void bind(Socket& socket);
  int bind_aside(int fd, const std::string& name);
  std::string reach(const Socket& socket, std::optional<mcr::sys::AssumedPlace>& place);
  void listen(Socket& socket);
  void fill(Socket& socket, OpenedFiles& table);
  void put_back(Socket& socket, const mcr::image::SocketMessage& waiting, const std::vector<int>& files);
  UniqueFd sender_named(const std::string& address, int& fd);
  void connect_datagrams(Socket& socket, int depth);
  void connect_pending(Socket& listener);
  void connect_outside(Socket& socket);
  void finish(Socket& socket);
  Socket* find(uint64_t inode);
  bool is_listener_name(const Socket& socket) const;
  int scratch();

  bool is_made_ = false;
  std::map<uint32_t, Socket> sockets_;
  std::map<uint64_t, Socket*> by_inode_;
  UniqueFd scratch_;
  int asides_ = 0;
};

// What stands in the way of this socket here.
void check_unix_socket(const mcr::image::UnixSocket& socket, const OpenedFiles& table, std::vector<Problem>& problems);
void check_unix_record(const std::string& record, const mcr::image::UnixSocket& socket);

}  // namespace mcr::kinds
