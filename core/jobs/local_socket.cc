#include "core/jobs/local_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/sys/socket.h"

namespace mcr::jobs {
namespace {

// By way of the folder's descriptor: a path in an address has 107 bytes at most (unix(7)).
std::string address_in(int folder, const char* name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/{}", folder, name);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return {reinterpret_cast<const char*>(&address), offsetof(sockaddr_un, sun_path) + path.size() + 1};
}

bool is_ours(int connection) {
  const auto credentials = sys::try_get_option(connection, SOL_SOCKET, SO_PEERCRED, sizeof(ucred));
  if (!credentials || credentials->size() != sizeof(ucred)) return false;
  ucred peer{};
  std::memcpy(&peer, credentials->data(), sizeof peer);
  return peer.uid == 0 || peer.uid == sys::effective_uid();
}

}  // namespace

UniqueFd listen_in(const std::string& folder, const char* name, int backlog) {
  const UniqueFd place = sys::open(folder, O_PATH | O_DIRECTORY);
  sys::try_unlink_at(place.get(), name);
  UniqueFd listener = sys::make_socket({AF_UNIX, SOCK_SEQPACKET, 0});
  sys::bind_socket(listener.get(), address_in(place.get(), name));
  sys::listen_on(listener.get(), backlog);
  return listener;
}

void remove_socket(const std::string& folder, const char* name) noexcept {
  try {
    sys::try_unlink_at(sys::open(folder, O_PATH | O_DIRECTORY).get(), name);
  } catch (const std::exception&) {  // the folder is gone, and the socket with it
  }
}

std::optional<UniqueFd> accept_ours(int listener) {
  try {
    UniqueFd connection = sys::accept_connection(listener);
    if (is_ours(connection.get())) return connection;
  } catch (const Error&) {  // whoever it was is gone
  }
  return std::nullopt;
}

std::optional<UniqueFd> connect_in(const std::string& folder, const char* name) {
  int code = 0;
  const auto place = sys::probe_open(folder, O_PATH | O_DIRECTORY, code);
  if (!place) return std::nullopt;
  UniqueFd socket = sys::make_socket({AF_UNIX, SOCK_SEQPACKET, 0});
  if (sys::try_connect_socket(socket.get(), address_in(place->get(), name)) != 0) return std::nullopt;
  return socket;
}

bool try_send_now(int socket, const std::string& bytes) {
  sys::SocketMessage outgoing;
  outgoing.data = bytes;
  return sys::try_send(socket, outgoing, {}, MSG_NOSIGNAL | MSG_DONTWAIT) == 0;
}

}  // namespace mcr::jobs
