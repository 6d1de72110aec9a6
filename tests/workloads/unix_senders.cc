// Datagrams of several senders, more of them than the socket takes from anybody but its peer; sockets connected to each
// other, one way, to themselves, to one that is closed, and one that has left its pair.
#include "sockets.h"

using namespace workload;

namespace {

std::string abstract(const char* name) {
  return std::string("\0mcr-odd-", 9) + std::to_string(getpid()) + name;
}

// Who has sent each message, how many wait, and to whom they are connected.
struct Senders {
  static constexpr int kMany = 40;  // for all but its peer a socket is full with 11
  std::string a = abstract("a"), b = abstract("b"), c = abstract("c"), d = abstract("d"), e = abstract("e"),
              gone = abstract("gone");
  int first = unix_bound(SOCK_DGRAM, a), second = unix_bound(SOCK_DGRAM, b), third = unix_bound(SOCK_DGRAM, c),
      one_way = unix_bound(SOCK_DGRAM, d), own = unix_bound(SOCK_DGRAM, e),
      widow = unix_bound(SOCK_DGRAM, prefix + ".w");
  Pair loose = make_pair_of(SOCK_DGRAM);

  static void send_to(int fd, const std::string& name, const std::string& text) {
    UnixName where(name);
    MUST_BE(sendto(fd, text.data(), text.size(), 0, where.get(), where.length), text.size());
  }
  static void join(int fd, const std::string& name) {
    UnixName where(name);
    MUST(connect(fd, where.get(), where.length) == 0);
  }

  Senders() {
    int nobody = socket(AF_UNIX, SOCK_DGRAM, 0);
    send_to(third, a, "third");
    send_to(nobody, a, "nobody");
    send_to(second, a, "early");
    close(nobody);
    join(first, b), join(second, a);
    for (int i = 0; i < kMany; ++i) say(second, std::to_string(i));
    say(first, "answer");
    join(one_way, c);
    for (int i = 0; i < kMany; ++i) send_to(third, d, std::to_string(i));
    for (int i = 0; i < kMany; ++i) send_to(own, e, std::to_string(i));
    int closed = unix_bound(SOCK_DGRAM, gone);
    send_to(third, prefix + ".w", "third");
    join(widow, gone);
    for (int i = 0; i < kMany; ++i) send_to(closed, prefix + ".w", std::to_string(i));
    close(closed);
    const sockaddr off{};
    MUST(connect(loose.a, &off, sizeof off) == 0);
    say(loose.b, "still");
  }

  static void expect_from(int fd, const std::string& text, const std::string& name) {
    char buffer[100];
    sockaddr_un from{};
    socklen_t length = sizeof from;
    const ssize_t got = recvfrom(fd, buffer, sizeof buffer, MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &length);
    if (got < 0) fail("no '%s': %s", text.c_str(), strerror(errno));
    const size_t head = offsetof(sockaddr_un, sun_path);
    const std::string sender = length <= head ? "" : std::string(from.sun_path, length - head);
    if (std::string(buffer, static_cast<size_t>(got)) != text || sender != name)
      fail("'%.*s' from '%s' instead of '%s' from '%s'", static_cast<int>(got), buffer,
           sender.c_str() + !sender.empty(), text.c_str(), name.c_str() + !name.empty());
  }

  void check() const {
    expect_from(first, "third", c), expect_from(first, "nobody", ""), expect_from(first, "early", b);
    for (int i = 0; i < kMany; ++i) {
      expect_from(first, std::to_string(i), b), expect_from(one_way, std::to_string(i), c);
      expect_from(own, std::to_string(i), e);
    }
    expect_from(second, "answer", a);
    both_ways(first, second, "mutual");
    MUST(unix_name(widow, true) == gone);
    expect_from(widow, "third", c);
    for (int i = 0; i < kMany; ++i) expect_from(widow, std::to_string(i), gone);
    MUST(send(widow, "x", 1, MSG_NOSIGNAL) < 0 && errno == ECONNREFUSED);
    for (int fd : {first, second, one_way, own, widow}) expect_heard(fd, "nothing");
    expect_from(loose.a, "still", "");
    MUST(unix_name(loose.a, true) == "error" && errno == ENOTCONN);
    say(loose.b, "more"), expect_heard(loose.a, "more");
    MUST(unlink((prefix + ".w").c_str()) == 0);
  }
};

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  const Senders senders;
  ready();
  wait_for_end();
  senders.check();
  return passed();
}
