// Unix sockets between processes: a server that has forked a child per client, and a pair whose ends two children
// have; a shared listener; credentials of both sides.
#include "family.h"
#include "sockets.h"

#include <algorithm>

using namespace workload;

namespace {

// Answers every message with its number, until its peer is gone.
[[noreturn]] void serve(int fd) {
  char text[256];
  int count = 0;
  for (;;) {
    ssize_t n = recv(fd, text, sizeof text, 0);
    if (n == 0) _exit(count);
    if (n < 0) _exit(90);
    ++count;
    std::string answer = std::to_string(getpid()) + " " + std::string(text, static_cast<size_t>(n));
    if (send(fd, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) _exit(91);
  }
}

std::string answer(int fd) {
  char text[256];
  ssize_t n = recv(fd, text, sizeof text, 0);
  return n < 0 ? strerror(errno) : std::string(text, static_cast<size_t>(n));
}

void expect_million(const Pair& across) {
  size_t total = 0;
  static char buffer[1 << 16];
  for (ssize_t n; (n = read(across.b, buffer, sizeof buffer)) > 0; total += n)
    if (differs_from(buffer, static_cast<size_t>(n), 'w') != -1) fail("other bytes came");
  MUST_BE(total, 1'000'000);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  std::string name = std::string(1, '\0') + "mcr-tree-" + std::to_string(getpid());
  int listener = unix_bound(SOCK_SEQPACKET, name);
  MUST(listen(listener, 8) == 0);
  constexpr int kServers = 3;
  pid_t servers[kServers];
  int clients[kServers];
  Pair across = make_pair_of(SOCK_STREAM);
  for (int i = 0; i < kServers; ++i) {
    servers[i] = fork_child([&] {
      close(across.a), close(across.b);
      for (int k = 0; k < i; ++k) close(clients[k]);
      int fd = accept(listener, nullptr, nullptr);
      close(listener);
      nursery.grown();
      serve(fd);
    });
    clients[i] = unix_connected(SOCK_SEQPACKET, name);
    nursery.expect(1);
    say(clients[i], "before");
  }
  pid_t writer = fork_child([&] {
    close(across.b);
    for (int fd : clients) close(fd);
    std::string text(100'000, 'w');
    nursery.grown();
    size_t left = 10 * text.size();  // a stop may end a call in the middle, as a signal does (send(2))
    while (left > 0) {
      ssize_t n = send(across.a, text.data(), std::min(left, text.size()), MSG_NOSIGNAL);
      if (n <= 0) _exit(93);
      left -= static_cast<size_t>(n);
    }
    _exit(6);
  });
  close(across.a);
  nursery.expect(1);
  int waiting = unix_connected(SOCK_SEQPACKET, name);
  sleep_ms(50);
  ready();
  wait_for_end();
  for (int i = 0; i < kServers; ++i) {
    std::string who = std::to_string(servers[i]);
    if (std::string got = answer(clients[i]); got != who + " before") fail("server %d said '%s'", i, got.c_str());
    say(clients[i], "after");
    if (std::string got = answer(clients[i]); got != who + " after") fail("server %d said '%s'", i, got.c_str());
    close(clients[i]);
    expect_status(servers[i], 2 << 8);
  }
  expect_million(across);
  expect_status(writer, 6 << 8);
  int last = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
  MUST(last >= 0);
  both_ways(waiting, last, "waited");
  expect_childless();
  return passed();
}
