// TCP connections inside the program, over both versions of IP: with data on both sides, received, sent and waiting
// for room; half closed on either side; with options; twenty idle ones.
#include "inet.h"

using namespace workload;

namespace {

void check_options(const Connection& idle) {
  MUST_BE(option(idle.client, IPPROTO_TCP, TCP_NODELAY), 1);
  MUST_BE(option(idle.client, SOL_SOCKET, SO_KEEPALIVE), 1);
  MUST_BE(option(idle.client, SOL_SOCKET, SO_REUSEADDR), 0);
  MUST_BE(option(idle.server, SOL_SOCKET, SO_REUSEADDR), 1);
  MUST_BE(option(idle.server, IPPROTO_TCP, TCP_CORK), 1);
  say(idle.client, "idle");
  expect_bytes(idle.server, "idle");
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  int four = listener(AF_INET), six = listener(AF_INET6);
  Connection idle = make_connection(four, AF_INET), busy = make_connection(six, AF_INET6),
             full = make_connection(four, AF_INET), half = make_connection(four, AF_INET),
             half_data = make_connection(six, AF_INET6);
  std::string forth = numbered(50'000, 1), back = numbered(30'000, 2);
  MUST_BE(send(busy.client, forth.data(), forth.size(), 0), forth.size());
  MUST_BE(send(busy.server, back.data(), back.size(), 0), back.size());
  fcntl(full.client, F_SETFL, O_NONBLOCK);
  size_t sent = 0;  // until nothing more goes in: received, under way, and never sent
  std::string block = numbered(64 << 10, 3);
  for (ssize_t n; sent < (32u << 20) && (n = send(full.client, block.data(), block.size(), 0)) > 0;)
    sent += static_cast<size_t>(n), sleep_ms(1);
  MUST(shutdown(half.client, SHUT_WR) == 0);
  say(half_data.client, "the last");
  MUST(shutdown(half_data.client, SHUT_WR) == 0);
  set_option(idle.client, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(idle.client, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(idle.server, IPPROTO_TCP, TCP_CORK, 1);
  set_option(idle.server, SOL_SOCKET, SO_REUSEADDR, 1);
  constexpr int kMany = 20;
  Connection many[kMany];
  for (Connection& one : many) one = make_connection(four, AF_INET), say(one.client, "many");
  Address from = address_of(busy.client), to = address_of(busy.server);
  ready("dump --tcp-established\n");
  wait_for_end();
  MUST(same(address_of(busy.client), from) && same(address_of(busy.client, true), to));
  MUST(same(address_of(busy.server, true), from));
  expect_bytes(busy.server, forth);
  expect_bytes(busy.client, back);
  both_ways(busy.client, busy.server, "again");
  check_options(idle);
  MUST_BE(fcntl(full.client, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  fcntl(full.client, F_SETFL, 0);
  for (size_t done = 0; done < sent; done += block.size())
    expect_bytes(full.server, block.substr(0, std::min(block.size(), sent - done)));
  say(full.client, "end");
  expect_bytes(full.server, "end");
  expect_end(half.server, "half closed");
  say(half.server, "still");
  expect_bytes(half.client, "still");
  MUST(send(half.client, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
  expect_bytes(half_data.server, "the last");
  expect_end(half_data.server, "half closed with data");
  close(half_data.server);
  expect_end(half_data.client, "closed by both");
  for (Connection& one : many) {
    expect_bytes(one.server, "many");
    say(one.server, "yes");
    expect_bytes(one.client, "yes");
    close(one.client);
    expect_end(one.server, "closed");
  }
  Connection fresh = make_connection(four, AF_INET);
  say(fresh.client, "fresh");
  expect_bytes(fresh.server, "fresh");
  return passed();
}
