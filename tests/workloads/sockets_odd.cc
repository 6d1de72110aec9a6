// Sockets as they can come about, but hardly be asked for: listeners at one address that no longer allow it, addresses
// that the host lacks, ends that were shut down, a datagram socket that is connected to itself.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "sockets.h"

using namespace workload;

namespace {

constexpr int kOff = 0, kOn = 1;

sockaddr_in at(const char* address, int port) {
  sockaddr_in in{};
  in.sin_family = AF_INET, in.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, address, &in.sin_addr);
  return in;
}

int bound(int type, sockaddr_in& place, int level, int option) {
  const int fd = socket(AF_INET, type, 0);
  MUST(setsockopt(fd, level, option, &kOn, sizeof kOn) == 0);
  MUST(bind(fd, reinterpret_cast<sockaddr*>(&place), sizeof place) == 0);
  socklen_t length = sizeof place;
  MUST(getsockname(fd, reinterpret_cast<sockaddr*>(&place), &length) == 0);
  return fd;
}

void take_back(int fd, int level, int option) {
  MUST(setsockopt(fd, level, option, &kOff, sizeof kOff) == 0);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  sockaddr_in shared = at("127.0.0.1", 0), foreign = at("192.0.2.7", 0), own = at("127.0.0.1", 0);
  const int one = bound(SOCK_STREAM, shared, SOL_SOCKET, SO_REUSEPORT);
  const int two = bound(SOCK_STREAM, shared, SOL_SOCKET, SO_REUSEPORT);
  MUST(listen(one, 3) == 0 && listen(two, 3) == 0);
  take_back(one, SOL_SOCKET, SO_REUSEPORT);
  take_back(two, SOL_SOCKET, SO_REUSEPORT);
  const int away = bound(SOCK_DGRAM, foreign, IPPROTO_IP, IP_FREEBIND);
  take_back(away, IPPROTO_IP, IP_FREEBIND);
  const int mute = bound(SOCK_DGRAM, own, SOL_SOCKET, SO_REUSEADDR);
  MUST(connect(mute, reinterpret_cast<sockaddr*>(&own), sizeof own) == 0 && shutdown(mute, SHUT_WR) == 0);
  const int ended = socket(AF_INET, SOCK_STREAM, 0), fresh = socket(AF_INET, SOCK_STREAM, 0);
  MUST(shutdown(ended, SHUT_RDWR) != 0 && errno == ENOTCONN);
  const int self = socket(AF_UNIX, SOCK_DGRAM, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "mini-criu-odd-%d", getpid());
  MUST(bind(self, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
  MUST(connect(self, reinterpret_cast<sockaddr*>(&name), sizeof name) == 0);
  MUST_BE(send(self, "before", 6, 0), 6);
  ready();
  wait_for_end();
  for (const int listener : {one, two}) {
    MUST_BE(option(listener, SOL_SOCKET, SO_REUSEPORT), 0);
    MUST_BE(option(listener, SOL_SOCKET, SO_ACCEPTCONN), 1);
  }
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  MUST(connect(client, reinterpret_cast<sockaddr*>(&shared), sizeof shared) == 0);
  sockaddr_in now{};
  socklen_t length = sizeof now;
  MUST(getsockname(away, reinterpret_cast<sockaddr*>(&now), &length) == 0);
  MUST(memcmp(&now, &foreign, sizeof now) == 0);
  MUST_BE(option(away, IPPROTO_IP, IP_FREEBIND), 0);
  MUST(send(mute, "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
  char byte;
  MUST_BE(recv(ended, &byte, 1, MSG_DONTWAIT), 0);
  MUST(recv(fresh, &byte, 1, MSG_DONTWAIT) < 0 && errno == ENOTCONN);
  MUST_BE(send(self, "after", 5, 0), 5);
  MUST(receive(self).text == "before");
  MUST(receive(self).text == "after");
  return passed();
}
