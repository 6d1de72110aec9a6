// Options that a socket has, whatever its family: read at the dump, set at the restore where a new socket differs.
#pragma once

#include <sys/stat.h>

#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/sys/socket.h"
#include "images/proto/sockets.pb.h"

namespace mcr::kinds {

// fd: the socket itself. Throws Fault::refused for an eBPF filter.
void dump_socket(int fd, const struct stat& status, mcr::image::SocketCommon& common);

// Refuses a record that no socket can have; Fault::image.
void check_socket_record(const std::string& record, const mcr::image::SocketCommon& common);

enum class OptionTime {
  early,  // before it is bound or connected
  late,   // when it has all that waits in it
};
void set_socket_options(int fd, const mcr::image::SocketCommon& common, OptionTime time);
// Room for what is put back into its queues; the late options give it its own sizes again.
void grow_socket_buffers(int fd);
// Its own room again for what it receives, before anything more can come.
void shrink_receive_buffer(int fd, const mcr::image::SocketCommon& common);

// Before anything is created: what this process may not give its sockets (EPERM, EACCES). Asks the kernel with sockets
// that are given up again at once; remembers what new ones have.
class OptionRights {
 public:
  struct Forbidden {
    std::string what;  // "option 36 of level 1 (SO_MARK)"
    int capability = 0;
  };
  // Throws Error when there can be no such socket.
  std::vector<Forbidden> find(const sys::SocketType& type, const mcr::image::SocketCommon& common);

 private:
  struct Fresh {
    uint32_t uid = 0, gid = 0;
    std::map<std::pair<int, int>, std::string> options;  // by level and name
  };
  const Fresh& fresh(const sys::SocketType& type);
  std::map<std::tuple<int, int, int>, Fresh> fresh_;
};

int int_option_of(const mcr::image::SocketCommon& common, int level, int name, int otherwise);

// Whether the host has the address of this struct sockaddr_in or sockaddr_in6.
bool is_own_address(const std::string& address);
// Binds to it; `foreign`: though the host does not have it (IP_FREEBIND). Returns 0, or the error number.
int try_bind_inet(int fd, const std::string& address, bool foreign);

}  // namespace mcr::kinds
