// TCP connections that wait to be accepted, over both versions of IP and by IPv4 at a socket of IPv6: their order,
// their ends, half closed ones, options of either side; more of them than the listener would let wait by now.
#include "inet.h"

using namespace workload;

namespace {

struct Client {
  int fd;
  bool ended;
  Address from;
};

struct Queue {
  int family, listener;
  std::vector<Client> clients;
};

void add(Queue& queue, int fd, bool ended = false) {
  if (ended) MUST(shutdown(fd, SHUT_WR) == 0);
  queue.clients.push_back({fd, ended, address_of(fd)});
}

void add_many(Queue& queue, int count) {
  for (int i = 0; i < count; ++i) {
    add(queue, connected_to(queue.listener, queue.family), i % 4 == 2);
    if (i % 5 == 4) sleep_ms(12);
  }
}

// A client at the end of whose address there is a port of its own choice.
int connected_from(uint16_t port, int listener) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  Address from = loopback(AF_INET, port), to = address_of(listener);
  if (bind(fd, from.get(), from.length) != 0) skip("a port below the usual range is taken");
  MUST(connect(fd, to.get(), to.length) == 0);
  return fd;
}

int accept_nonblocking(int listener) {
  int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
  MUST(fd >= 0);
  fcntl(fd, F_SETFL, 0);
  return fd;
}

void check(Queue& queue) {
  MUST(fcntl(queue.listener, F_SETFL, O_NONBLOCK) == 0);
  for (Client& client : queue.clients) {
    int server = accept_nonblocking(queue.listener);
    Address peer = address_of(server, true), from = address_of(client.fd);
    MUST(same(from, client.from));
    if (peer.length == from.length) MUST(same(peer, from));
    MUST_BE(ntohs(reinterpret_cast<sockaddr_in*>(&peer.storage)->sin_port),
            ntohs(reinterpret_cast<sockaddr_in*>(&from.storage)->sin_port));
    MUST_BE(option(server, SOL_SOCKET, SO_KEEPALIVE), 1);
    if (client.ended) {
      expect_end(server, "half closed");
      MUST(send(client.fd, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
      say(server, "answer");
      expect_bytes(client.fd, "answer");
    } else {
      both_ways(client.fd, server, "hello");
      close(server);
      expect_end(client.fd, "closed");
    }
  }
  MUST(accept(queue.listener, nullptr, nullptr) == -1 && errno == EAGAIN);
  MUST(fcntl(queue.listener, F_SETFL, 0) == 0);
  Connection fresh = make_connection(queue.listener, queue.family);
  both_ways(fresh.client, fresh.server, "fresh");
}

int dual_listener() {
  int fd = socket(AF_INET6, SOCK_STREAM, 0);
  set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  Address any;
  reinterpret_cast<sockaddr_in6*>(&any.storage)->sin6_family = AF_INET6;
  any.length = sizeof(sockaddr_in6);
  MUST(bind(fd, any.get(), any.length) == 0 && listen(fd, 16) == 0);
  return fd;
}

Address mapped(int listener) {
  Address to = address_of(listener);
  inet_pton(AF_INET6, "::ffff:127.0.0.1", &reinterpret_cast<sockaddr_in6*>(&to.storage)->sin6_addr);
  return to;
}

void add_mapped(Queue& dual) {
  Address to = mapped(dual.listener);
  Address four = loopback(AF_INET, ntohs(reinterpret_cast<sockaddr_in6*>(&to.storage)->sin6_port));
  for (int i = 0; i < 2; ++i) {
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    MUST(connect(fd, to.get(), to.length) == 0);
    add(dual, fd, i == 1);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    MUST(connect(fd, four.get(), four.length) == 0);
    add(dual, fd);
  }
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Queue four{AF_INET, listener(AF_INET), {}}, six{AF_INET6, listener(AF_INET6), {}},
      dual{AF_INET6, dual_listener(), {}}, chosen{AF_INET, listener(AF_INET), {}};
  for (Queue* queue : {&four, &six, &dual, &chosen}) set_option(queue->listener, SOL_SOCKET, SO_KEEPALIVE, 1);
  add_many(four, 14);
  add_many(six, 5);
  add_mapped(dual);
  for (uint16_t port : {21'907, 21'903, 21'905}) add(chosen, connected_from(port, chosen.listener)), sleep_ms(12);
  MUST(listen(four.listener, 3) == 0);  // fewer than wait
  int first = four.clients[0].fd;
  set_option(first, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(first, IPPROTO_TCP, TCP_USER_TIMEOUT, 4'321);
  set_option(first, SOL_SOCKET, SO_RCVBUF, 30'000);
  set_option(first, IPPROTO_IP, IP_TOS, 0x10);
  fcntl(four.clients[1].fd, F_SETFL, O_NONBLOCK);
  int room = option(first, SOL_SOCKET, SO_RCVBUF);
  ready("dump --tcp-established\n");
  wait_for_end();
  MUST_BE(option(first, IPPROTO_TCP, TCP_NODELAY), 1);
  MUST_BE(option(first, IPPROTO_TCP, TCP_USER_TIMEOUT), 4'321);
  MUST_BE(option(first, SOL_SOCKET, SO_RCVBUF), room);
  MUST_BE(option(first, IPPROTO_IP, IP_TOS), 0x10);
  MUST_BE(option(four.clients[3].fd, SOL_SOCKET, SO_REUSEADDR), 0);
  MUST_BE(fcntl(four.clients[1].fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  fcntl(four.clients[1].fd, F_SETFL, 0);
  for (Queue* queue : {&four, &six, &dual, &chosen}) check(*queue);
  return passed();
}
