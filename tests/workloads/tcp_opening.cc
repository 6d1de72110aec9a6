// TCP connections that are not open yet: two clients of a listener whose queue is full, one waiting in connect(2) and
// one not; clients of a listener that defers until they send something (TCP_DEFER_ACCEPT).
#include <poll.h>

#include <thread>

#include "inet.h"

using namespace workload;

namespace {

int opening(int listener) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  Address to = address_of(listener);
  MUST(connect(fd, to.get(), to.length) == -1 && errno == EINPROGRESS);
  MUST_BE(tcp_state(fd), TCP_SYN_SENT);
  return fd;
}

void expect_open(int fd) {
  pollfd watched{fd, POLLOUT, 0};
  MUST(poll(&watched, 1, 60'000) == 1);
  MUST_BE(option(fd, SOL_SOCKET, SO_ERROR), 0);
  MUST_BE(watched.revents, POLLOUT);
  fcntl(fd, F_SETFL, 0);
}

bool is_port_of(int client, int server) {
  Address peer = address_of(server, true);
  return same(peer, address_of(client));
}

void check_deferred(int listener, const std::vector<int>& clients) {
  fcntl(listener, F_SETFL, O_NONBLOCK);
  MUST(accept(listener, nullptr, nullptr) == -1 && errno == EAGAIN);
  fcntl(listener, F_SETFL, 0);
  for (size_t i = clients.size(); i-- > 0;) {
    say(clients[i], "now");
    int server = accept(listener, nullptr, nullptr);
    MUST(server >= 0 && is_port_of(clients[i], server));
    expect_bytes(server, "now");
    both_ways(clients[i], server, "hello");
  }
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  int full = listener(AF_INET, 1), defers = listener(AF_INET);
  set_option(defers, IPPROTO_TCP, TCP_DEFER_ACCEPT, 100);
  int deferral = option(defers, IPPROTO_TCP, TCP_DEFER_ACCEPT);
  std::vector<int> deferred;
  for (int i = 0; i < 3; ++i) deferred.push_back(connected_to(defers, AF_INET));
  int first = connected_to(full, AF_INET), second = connected_to(full, AF_INET);
  int late = opening(full), blocked = socket(AF_INET, SOCK_STREAM, 0), code = -1;
  Address to = address_of(full), from = address_of(late);
  std::thread thread([&] { code = connect(blocked, to.get(), to.length) == 0 ? 0 : errno; });
  while (tcp_state(blocked) != TCP_SYN_SENT) sleep_ms(1);
  sleep_ms(20);
  ready("dump --tcp-established\n");
  wait_for_end();
  MUST_BE(tcp_state(late), TCP_SYN_SENT);
  MUST_BE(tcp_state(blocked), TCP_SYN_SENT);
  MUST(same(address_of(late), from));
  MUST_BE(option(defers, IPPROTO_TCP, TCP_DEFER_ACCEPT), deferral);
  check_deferred(defers, deferred);
  int servers[4];
  for (int& server : servers) MUST((server = accept(full, nullptr, nullptr)) >= 0);
  MUST(is_port_of(first, servers[0]) && is_port_of(second, servers[1]));
  thread.join();
  MUST_BE(code, 0);
  expect_open(late);
  const bool in_order = is_port_of(late, servers[2]);
  MUST(is_port_of(late, servers[in_order ? 2 : 3]) && is_port_of(blocked, servers[in_order ? 3 : 2]));
  both_ways(late, servers[in_order ? 2 : 3], "late");
  both_ways(blocked, servers[in_order ? 3 : 2], "blocked");
  return passed();
}
