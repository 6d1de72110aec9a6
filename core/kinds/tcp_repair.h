// The state of a TCP connection, read and made again by TCP_REPAIR (tcp(7), Linux 3.5; needs CAP_NET_ADMIN).
//
// A socket in repair mode is of no use to its program. So at a dump it is in that mode only while a process apart reads
// it (core/sys/apart.h), and at a restore until just before the program runs.
#pragma once

#include "images/proto/sockets.pb.h"

namespace mcr::kinds {

namespace tcp {
inline constexpr int kEstablished = 1, kSynSent = 2, kSynReceived = 3, kFinWait1 = 4, kFinWait2 = 5, kClose = 7,
                     kCloseWait = 8, kLastAck = 9, kListen = 10, kClosing = 11;
}  // namespace tcp

int tcp_state_of(int fd);
bool has_sent_segments(int fd);      // one that is closed now was connected before, or wanted to be
bool is_connected_state(int state);  // both ends have sequence numbers
uint32_t waiting_at(int listener);   // connections in its queue
inline bool needs_repair(int fd) {
  return is_connected_state(tcp_state_of(fd));
}

// In a process apart. Of all sockets the senders are read first: what was acknowledged meanwhile then is in both.
void read_tcp_sender(int fd, mcr::image::TcpSocket& state);
void read_tcp_receiver(int fd, mcr::image::TcpSocket& state);

// A new socket, its early options set, becomes the connection; it stays in repair mode.
void make_tcp_connection(int fd, const mcr::image::TcpSocket& state);
// Leaves repair mode, and sends what was never sent.
void start_tcp_connection(int fd, const mcr::image::TcpSocket& state);
// The other end, which is elsewhere and does not send it again, had closed its half: a segment says so once more, sent
// over the loopback in its name. Out of repair mode.
void receive_tcp_end(int fd, const mcr::image::TcpSocket& state);
// While it lives, a new socket may be bound whatever other sockets have its address. Afterwards SO_REUSEADDR is set.
class ForcedBind {
 public:
  explicit ForcedBind(int fd);
  ~ForcedBind();
  ForcedBind(const ForcedBind&) = delete;
  ForcedBind& operator=(const ForcedBind&) = delete;

 private:
  int fd_;
};
// Into repair mode: closed then, it says nothing to the other end. False: it cannot be.
bool silence_tcp_connection(int fd);

}  // namespace mcr::kinds
