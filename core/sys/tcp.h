// Connections of TCP for bytes of ours: an image that goes to another host, or is read there. Descriptors are
// non-blocking, for read_stream() and write_stream(); who is silent for long is given up (TCP_USER_TIMEOUT, keepalive).
// Throws Error, which names the address. Any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "core/base/unique_fd.h"

namespace mcr::sys {

struct TcpPlace {
  std::string host;  // an address, or a name (getaddrinfo(3))
  uint16_t port = 0;
  std::string text() const;  // "[::1]:9000"
};

UniqueFd listen_tcp(const TcpPlace& place);  // port 0: any; local_port() tells it
uint16_t local_port(int fd);
std::string peer_text(int fd);  // "10.0.0.2:41234"
// Waits for the first to come; not valid: `stop` became readable first.
UniqueFd accept_tcp(int listener, int stop);
UniqueFd connect_tcp(const TcpPlace& place, std::chrono::milliseconds limit);
// What waits in a read or a write of it ends. Both directions.
void end_tcp(int fd);

// All of it; false: the other side has ended before. Throws, with the code of timed_out, when nothing comes for so
// long.
bool receive_all(int fd, void* data, size_t size, std::chrono::milliseconds silence);
bool has_left(int fd);  // the other side has closed it, or is gone, whatever it has still sent

// All of it, from the file to the socket (sendfile(2)). Throws when the file ends before.
void send_file(int socket, int file, uint64_t offset, uint64_t bytes);

}  // namespace mcr::sys
