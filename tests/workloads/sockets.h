// For workloads with sockets.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <utility>

#include "contract.h"

namespace workload {

struct Pair {
  int a = -1, b = -1;
};

inline Pair make_pair_of(int type) {
  int fds[2];
  MUST(socketpair(AF_UNIX, type, 0, fds) == 0);
  return {fds[0], fds[1]};
}

struct UnixName {
  sockaddr_un address{};
  socklen_t length = 0;
  explicit UnixName(const std::string& name) {
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, name.data(), name.size());
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + (name[0] != 0 ? 1 : 0));
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

inline int unix_bound(int type, const std::string& name) {
  int fd = socket(AF_UNIX, type, 0);
  UnixName where(name);
  if (fd < 0 || bind(fd, where.get(), where.length) != 0) fail("bind %s: %s", name.c_str(), strerror(errno));
  return fd;
}

inline int unix_connected(int type, const std::string& name) {
  int fd = socket(AF_UNIX, type, 0);
  UnixName where(name);
  if (fd < 0 || connect(fd, where.get(), where.length) != 0) fail("connect %s: %s", name.c_str(), strerror(errno));
  return fd;
}

// The bytes of sun_path, without the zero at the end of a path.
inline std::string unix_name(int fd, bool peer = false) {
  sockaddr_un address{};
  socklen_t length = sizeof address;
  if ((peer ? getpeername : getsockname)(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return "error";
  if (length <= offsetof(sockaddr_un, sun_path)) return "";
  std::string name(address.sun_path, length - offsetof(sockaddr_un, sun_path));
  return name[0] != 0 ? std::string(name.c_str()) : name;
}

inline void say(int fd, const std::string& text) {
  if (send(fd, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size()))
    fail("send '%s': %s", text.c_str(), strerror(errno));
}

// One recv, without waiting.
inline std::string hear(int fd, int flags = 0) {
  char buffer[65536];
  ssize_t n = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT | flags);
  if (n < 0) return errno == EAGAIN ? "nothing" : strerrorname_np(errno);
  return std::string(buffer, static_cast<size_t>(n));
}

inline void expect_heard(int fd, const std::string& text) {
  std::string got = hear(fd);
  if (got != text) fail("socket %d: '%s' instead of '%s'", fd, got.c_str(), text.c_str());
}

inline void both_ways(int a, int b, const char* what) {
  say(a, what);
  expect_heard(b, what);
  say(b, "back");
  expect_heard(a, "back");
}

inline int option(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  MUST(getsockopt(fd, level, name, &value, &length) == 0);
  return value;
}
inline void set_option(int fd, int level, int name, int value) {
  if (setsockopt(fd, level, name, &value, sizeof value) != 0)
    fail("setsockopt %d %d: %s", level, name, strerror(errno));
}

inline void send_file(int socket, int fd, const std::string& text) {
  iovec part{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)]{};
  msghdr message{};
  message.msg_iov = &part, message.msg_iovlen = 1;
  message.msg_control = control, message.msg_controllen = sizeof control;
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_RIGHTS, head->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(head), &fd, sizeof fd);
  MUST_BE(sendmsg(socket, &message, MSG_NOSIGNAL), text.size());
}

struct Received {
  std::string text;
  int fd = -1;
  ucred sender{-1, 0, 0};
};

inline Received receive(int socket) {
  char buffer[4096];
  iovec part{buffer, sizeof buffer};
  alignas(cmsghdr) char control[256]{};
  msghdr message{};
  message.msg_iov = &part, message.msg_iovlen = 1;
  message.msg_control = control, message.msg_controllen = sizeof control;
  ssize_t n = recvmsg(socket, &message, MSG_DONTWAIT);
  if (n < 0) fail("recvmsg: %s", strerror(errno));
  Received got;
  got.text.assign(buffer, static_cast<size_t>(n));
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_type == SCM_RIGHTS) memcpy(&got.fd, CMSG_DATA(head), sizeof got.fd);
    if (head->cmsg_type == SCM_CREDENTIALS) memcpy(&got.sender, CMSG_DATA(head), sizeof got.sender);
  }
  return got;
}

}  // namespace workload
