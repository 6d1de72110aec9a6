// Connections that one side has left: the other one knows whom it was with. And a listener that is only in a message.

#include "sockets.h"

using namespace workload;

namespace {

std::string abstract(const char* name) {
  return std::string("\0mcr-odd-", 9) + std::to_string(getpid()) + name;
}

// A connection that is left knows whom it was with.
struct Left {
  std::string name = abstract("l"), client_name = abstract("client"), path = prefix + ".l";
  int listener = unix_bound(SOCK_STREAM, name), by_path = unix_bound(SOCK_SEQPACKET, path);
  int client = -1, server = -1, unnamed = -1, path_client = -1;

  Left() {
    MUST(listen(listener, 5) == 0 && listen(by_path, 5) == 0);
    client = unix_connected(SOCK_STREAM, name);
    close(accept(listener, nullptr, nullptr));
    int with_name = unix_bound(SOCK_STREAM, client_name);
    UnixName where(name);
    MUST(connect(with_name, where.get(), where.length) == 0);
    server = accept(listener, nullptr, nullptr);
    say(with_name, "last words");
    close(with_name);
    int without = unix_connected(SOCK_STREAM, name);
    unnamed = accept(listener, nullptr, nullptr);
    close(without);
    path_client = unix_connected(SOCK_SEQPACKET, path);
    close(accept(by_path, nullptr, nullptr));
  }

  void check() const {
    MUST(unix_name(client, true) == name && unix_name(client).empty());
    MUST(unix_name(server) == name && unix_name(server, true) == client_name);
    MUST(unix_name(unnamed) == name && unix_name(unnamed, true).empty());
    MUST(unix_name(path_client, true) == path);
    expect_heard(server, "last words");
    for (int fd : {client, server, unnamed, path_client}) expect_heard(fd, "");
    int again = unix_connected(SOCK_STREAM, name), accepted = accept(listener, nullptr, nullptr);
    both_ways(again, accepted, "again");
    MUST(unlink(path.c_str()) == 0);
  }
};

// A listener that only a message has, with a connection that waits.
struct Travelling {
  std::string name = abstract("t");
  Pair pair = make_pair_of(SOCK_STREAM);
  int client = -1;

  Travelling() {
    int listener = unix_bound(SOCK_STREAM, name);
    MUST(listen(listener, 5) == 0);
    client = unix_connected(SOCK_STREAM, name);
    send_file(pair.a, listener, "listener");
    close(listener);
  }
  void check() const {
    Received got = receive(pair.b);
    MUST(got.text == "listener" && got.fd >= 0);
    both_ways(client, accept(got.fd, nullptr, nullptr), "accepted");
  }
};

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  const Left left;
  const Travelling travelling;
  ready();
  wait_for_end();
  left.check();
  travelling.check();
  return passed();
}
