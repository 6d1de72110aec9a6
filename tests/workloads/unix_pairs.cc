// Socket pairs of all types: with messages under way, shut down, without their other end, non-blocking, duplicated.
#include "sockets.h"

using namespace workload;

int main(int argc, char** argv) {
  begin(argc, argv);
  Pair stream = make_pair_of(SOCK_STREAM), datagram = make_pair_of(SOCK_DGRAM | SOCK_NONBLOCK),
       packets = make_pair_of(SOCK_SEQPACKET | SOCK_CLOEXEC), large = make_pair_of(SOCK_STREAM),
       half = make_pair_of(SOCK_STREAM), widow = make_pair_of(SOCK_STREAM), reset = make_pair_of(SOCK_STREAM),
       lone = make_pair_of(SOCK_DGRAM), empty = make_pair_of(SOCK_STREAM);
  say(stream.a, "one"), say(stream.a, "two"), say(stream.b, "other way");
  for (const char* text : {"first", "second", "third"}) say(datagram.a, text), say(packets.b, text);
  say(datagram.b, "d");
  std::vector<unsigned char> bytes(300'000), back(300'000);
  fill(bytes.data(), bytes.size(), 7);
  set_option(large.a, SOL_SOCKET, SO_SNDBUF, 1 << 20);
  int buffer = option(large.a, SOL_SOCKET, SO_SNDBUF);
  MUST_BE(send(large.a, bytes.data(), bytes.size(), MSG_DONTWAIT), bytes.size());
  say(half.a, "last words");
  MUST(shutdown(half.a, SHUT_WR) == 0);
  say(widow.b, "farewell");
  close(widow.b);
  say(reset.a, "never read");
  close(reset.b);
  close(lone.b);
  int copy = dup(stream.b);
  ready();
  wait_for_end();
  expect_heard(stream.b, "onetwo");
  expect_heard(copy, "nothing");
  expect_heard(stream.a, "other way");
  for (const char* text : {"first", "second", "third"}) expect_heard(datagram.b, text), expect_heard(packets.a, text);
  expect_heard(datagram.b, "nothing");
  expect_heard(packets.a, "nothing");
  expect_heard(datagram.a, "d");
  MUST_BE(option(large.a, SOL_SOCKET, SO_SNDBUF), buffer);
  MUST_BE(recv(large.b, back.data(), back.size(), MSG_WAITALL), back.size());
  MUST_BE(differs(back.data(), back.size(), 7), -1);
  expect_heard(large.b, "nothing");
  expect_heard(half.b, "last words");
  expect_heard(half.b, "");
  say(half.b, "still open");
  expect_heard(half.a, "still open");
  MUST(send(half.a, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
  expect_heard(widow.a, "farewell");
  expect_heard(widow.a, "");
  MUST(send(widow.a, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
  expect_heard(reset.a, "ECONNRESET");
  MUST(send(lone.a, "x", 1, MSG_NOSIGNAL) == -1 && errno == ECONNREFUSED);
  both_ways(stream.a, copy, "again");
  both_ways(datagram.a, datagram.b, "again");
  both_ways(packets.a, packets.b, "again");
  both_ways(empty.a, empty.b, "first");
  MUST_BE(fcntl(datagram.a, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  MUST_BE(fcntl(stream.a, F_GETFL) & O_NONBLOCK, 0);
  MUST(unix_name(stream.a).empty() && unix_name(stream.a, true).empty());
  close(stream.b), close(copy);
  expect_heard(stream.a, "");
  return passed();
}
