// TCP sockets that are not connected: listeners with their options over both versions of IP, bound and unbound ones.
#include "inet.h"

using namespace workload;

namespace {

struct Listening {
  int family, fd;
  Address where;
};

void check(Listening& one) {
  MUST(same(address_of(one.fd), one.where));
  MUST_BE(tcp_state(one.fd), TCP_LISTEN);
  Connection made = make_connection(one.fd, one.family);
  both_ways(made.client, made.server, "hello");
  close(made.client), close(made.server);
}

void set_options(const Listening& four) {
  set_option(four.fd, SOL_SOCKET, SO_REUSEADDR, 1);
  set_option(four.fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(four.fd, IPPROTO_TCP, TCP_KEEPIDLE, 77);
  set_option(four.fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 3);
  set_option(four.fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 0);
  set_option(four.fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(four.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 12'345);
  set_option(four.fd, SOL_SOCKET, SO_RCVBUF, 50'000);
  set_option(four.fd, IPPROTO_IP, IP_TOS, 0x10);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Listening four{AF_INET, listener(AF_INET, 3), {}}, six{AF_INET6, listener(AF_INET6, 5), {}};
  four.where = address_of(four.fd), six.where = address_of(six.fd);
  set_options(four);
  linger lingers{1, 9};
  MUST(setsockopt(four.fd, SOL_SOCKET, SO_LINGER, &lingers, sizeof lingers) == 0);
  timeval patience{2, 500'000};
  MUST(setsockopt(four.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
  int group[2];  // two of one port
  for (int& fd : group) {
    fd = socket(AF_INET, SOCK_STREAM, 0);
    set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    Address where = &fd == group ? loopback(AF_INET) : address_of(group[0]);
    MUST(bind(fd, where.get(), where.length) == 0 && listen(fd, 2) == 0);
  }
  int only_bound = bound(AF_INET, SOCK_STREAM), both_versions = socket(AF_INET6, SOCK_STREAM, 0),
      unbound = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  set_option(both_versions, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  Address any, bound_at = address_of(only_bound);
  auto* in6 = reinterpret_cast<sockaddr_in6*>(&any.storage);
  in6->sin6_family = AF_INET6;
  any.length = sizeof *in6;
  MUST(bind(both_versions, any.get(), any.length) == 0 && listen(both_versions, 4) == 0);
  Address both_at = address_of(both_versions);
  int buffer = option(four.fd, SOL_SOCKET, SO_RCVBUF);
  ready();
  wait_for_end();
  check(four), check(six);
  MUST_BE(option(four.fd, SOL_SOCKET, SO_REUSEADDR), 1);
  MUST_BE(option(six.fd, SOL_SOCKET, SO_REUSEADDR), 1);
  MUST_BE(option(only_bound, SOL_SOCKET, SO_REUSEADDR), 0);
  MUST_BE(option(four.fd, SOL_SOCKET, SO_KEEPALIVE), 1);
  MUST_BE(option(four.fd, IPPROTO_TCP, TCP_KEEPIDLE), 77);
  MUST_BE(option(four.fd, IPPROTO_TCP, TCP_NODELAY), 1);
  MUST_BE(option(four.fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 12'345);
  MUST_BE(option(four.fd, SOL_SOCKET, SO_RCVBUF), buffer);
  MUST_BE(option(four.fd, IPPROTO_IP, IP_TOS), 0x10);
  socklen_t length = sizeof lingers;
  MUST(getsockopt(four.fd, SOL_SOCKET, SO_LINGER, &lingers, &length) == 0);
  MUST(lingers.l_onoff == 1 && lingers.l_linger == 9);
  length = sizeof patience;
  MUST(getsockopt(four.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, &length) == 0);
  MUST_BE(patience.tv_sec * 1000 + patience.tv_usec / 1000, 2500);
  MUST(same(address_of(group[0]), address_of(group[1])));
  for (int fd : group) MUST_BE(option(fd, SOL_SOCKET, SO_REUSEPORT), 1);
  MUST(same(address_of(only_bound), bound_at));
  MUST(listen(only_bound, 1) == 0);
  Listening late{AF_INET, only_bound, bound_at};
  check(late);
  Address to = loopback(AF_INET, ntohs(reinterpret_cast<sockaddr_in6*>(&both_at.storage)->sin6_port));
  MUST_BE(fcntl(unbound, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  fcntl(unbound, F_SETFL, 0);
  MUST(connect(unbound, to.get(), to.length) == 0);
  int accepted = accept(both_versions, nullptr, nullptr);
  MUST(accepted >= 0);
  both_ways(unbound, accepted, "both");
  return passed();
}
