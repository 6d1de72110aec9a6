// Sockets of an image, as `ss` would list them. Pure; any thread. Nothing in the records is believed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "images/proto/files.pb.h"

namespace mcr::images {

struct SocketView {
  std::string kind;   // "tcp", "udp", "unix stream"
  std::string state;  // "established", "listens"
  uint64_t inode = 0;
  uint64_t received = 0, sent = 0;  // bytes that wait to be read, and to be sent or taken
  std::string local, remote;        // any bytes
  uint64_t peer = 0;                // of a unix socket, the inode of the other one
};

// nullopt: it is none, or cannot be read.
std::optional<SocketView> socket_view(const image::FileObject& object);
// struct sockaddr: "127.0.0.1:80", "[::1]:80", what it is of others. Empty: nothing.
std::string address_text(std::string_view address);

}  // namespace mcr::images
