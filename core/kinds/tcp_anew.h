// Restore: TCP connections that are made anew by connect(2): those that wait to be accepted by a listener of the image,
// and those that were being opened. Programs cannot tell a new one from the old; sequence numbers are others.
#pragma once

#include "core/kinds/tcp_waiting.h"
#include "images/proto/sockets.pb.h"

namespace mcr::kinds {

// The address that it had or shows; with CAP_NET_ADMIN whatever others of this image allow there. Its early options are
// set.
void bind_anew(int fd, const mcr::image::TcpSocket& client);

// A listener with its options; while this lives, it has room for all who wait.
class OpenQueue {
 public:
  OpenQueue(int listener, const mcr::image::TcpSocket& message);
  // The next to wait, bound: connected, what it had to send is sent, its half closed where it was. Throws Error when it
  // is not in the queue at once. A program that was inside of connect(2) makes that call again and is told 0: for that
  // the kernel must not have told it to us (SS_CONNECTING, net/ipv4/af_inet.c).
  void add(int fd, const mcr::image::TcpSocket& client, bool half_open);
  // No more follow: the listener is as it was.
  void close();

 private:
  void keep_apart(const mcr::image::TcpSocket& client);

  int listener_;
  const mcr::image::TcpSocket& message_;
  int deferred_;  // TCP_DEFER_ACCEPT, seconds
  bool defers_ = false;
  uint16_t first_port_;
  std::vector<uint16_t> tick_;  // ports of the clients that may have come in one tick of the clock
};

// Goes on by itself; what becomes of it the program is told. Bound, non-blocking.
void open_anew(int fd, const mcr::image::TcpSocket& client);

}  // namespace mcr::kinds
