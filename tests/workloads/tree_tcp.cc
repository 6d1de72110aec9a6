// TCP connections between processes: a server that forks a child per client, clients that talk all the time.
#include "family.h"
#include "inet.h"

using namespace workload;

namespace {

[[noreturn]] void echo(int fd) {
  char text[512];
  for (ssize_t n; (n = recv(fd, text, sizeof text, 0)) > 0;)
    if (send(fd, text, static_cast<size_t>(n), MSG_NOSIGNAL) != n) _exit(91);
  _exit(4);
}

[[noreturn]] void talk(Address where, Nursery& nursery) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, where.get(), where.length) != 0) _exit(92);
  for (int i = 0;; ++i) {
    std::string text = "message " + std::to_string(i) + std::string(100, '.');
    if (send(fd, text.data(), text.size(), MSG_NOSIGNAL) != ssize_t(text.size())) _exit(93);
    std::string got(text.size(), '\0');
    if (recv(fd, got.data(), got.size(), MSG_WAITALL) != ssize_t(got.size()) || got != text) _exit(94);
    if (i == 0) nursery.grown();
    if (end_requested()) _exit(7);
    sleep_ms(2);
  }
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  int four = listener(AF_INET);
  Address where = address_of(four);
  constexpr int kClients = 3;
  pid_t clients[kClients], servers[kClients];
  for (int i = 0; i < kClients; ++i) {
    clients[i] = fork_child([&] {
      close(four);
      talk(where, nursery);
    });
    int fd = accept(four, nullptr, nullptr);
    MUST(fd >= 0);
    servers[i] = fork_child([&] {
      close(four);
      echo(fd);
    });
    close(fd);
    nursery.expect(1);
  }
  ready("dump --tcp-established\n");
  wait_for_end();
  for (int i = 0; i < kClients; ++i) {
    expect_end(clients[i], 7);
    expect_status(servers[i], 4 << 8);
  }
  expect_childless();
  return passed();
}
