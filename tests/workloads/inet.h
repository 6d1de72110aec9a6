// For workloads with sockets of the internet, on the loopback interface.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include "sockets.h"

namespace workload {

struct Address {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

inline Address loopback(int family, uint16_t port = 0) {
  Address address;
  if (family == AF_INET) {
    auto* in = reinterpret_cast<sockaddr_in*>(&address.storage);
    in->sin_family = AF_INET, in->sin_port = htons(port), in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.length = sizeof *in;
  } else {
    auto* in = reinterpret_cast<sockaddr_in6*>(&address.storage);
    in->sin6_family = AF_INET6, in->sin6_port = htons(port), in->sin6_addr = in6addr_loopback;
    address.length = sizeof *in;
  }
  return address;
}

inline Address address_of(int fd, bool peer = false) {
  Address address;
  if ((peer ? getpeername : getsockname)(fd, address.get(), &address.length) != 0) fail("address: %s", strerror(errno));
  return address;
}

inline bool same(const Address& a, const Address& b) {
  return a.length == b.length && memcmp(&a.storage, &b.storage, a.length) == 0;
}

inline int bound(int family, int type, int protocol = 0) {
  int fd = socket(family, type, protocol);
  Address where = loopback(family);
  if (fd < 0 || bind(fd, where.get(), where.length) != 0) fail("bind: %s", strerror(errno));
  return fd;
}

inline int listener(int family, int backlog = 16) {
  int fd = socket(family, SOCK_STREAM, 0);
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);  // as servers do: the driver kills programs with open connections
  Address where = loopback(family);
  MUST(fd >= 0 && bind(fd, where.get(), where.length) == 0 && listen(fd, backlog) == 0);
  return fd;
}

struct Connection {
  int client = -1, server = -1;
};

inline int connected_to(int listener, int family) {
  int fd = socket(family, SOCK_STREAM, 0);
  Address where = address_of(listener);
  if (fd < 0 || connect(fd, where.get(), where.length) != 0) fail("connect: %s", strerror(errno));
  return fd;
}

inline Connection make_connection(int listener, int family) {
  Connection made;
  made.client = connected_to(listener, family);
  made.server = accept(listener, nullptr, nullptr);
  MUST(made.server >= 0);
  return made;
}

// All of it, waiting.
inline void expect_bytes(int fd, const std::string& text) {
  std::string got(text.size(), '\0');
  ssize_t n = recv(fd, got.data(), got.size(), MSG_WAITALL);
  if (n != static_cast<ssize_t>(text.size()) || got != text)
    fail("socket %d: %zd bytes '%s' instead of '%s'", fd, n, got.substr(0, 60).c_str(), text.substr(0, 60).c_str());
}

inline void expect_end(int fd, const char* what) {
  char byte;
  ssize_t n = recv(fd, &byte, 1, 0);
  if (n != 0) fail("%s: no end of file but %zd (%s)", what, n, strerror(errno));
}

inline int tcp_state(int fd) {
  tcp_info info{};
  socklen_t length = sizeof info;
  MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0);
  return info.tcpi_state;
}

// A stream of bytes that says where it breaks.
inline std::string numbered(size_t bytes, int seed) {
  std::string text(bytes, '\0');
  workload::fill(text.data(), text.size(), static_cast<uint64_t>(seed));
  return text;
}

}  // namespace workload
