// What travels in messages of unix sockets: open files (some of them nowhere else), credentials, borders of messages.
#include <sys/stat.h>

#include "sockets.h"

using namespace workload;

namespace {

void check_senders(const Pair& plain) {
  Received got = receive(plain.b);
  MUST(got.text == "who");
  MUST_BE(got.sender.pid, getpid());
  MUST_BE(got.sender.uid, getuid());
  if (!getenv("MCR_DUMP_IS_KILLED")) {  // a datagram without bytes is seen once (docs/compatibility.md)
    got = receive(plain.b);
    MUST(got.text.empty());
  } else if (hear(plain.b, MSG_PEEK).empty()) {
    receive(plain.b);
  }
  got = receive(plain.b);
  MUST(got.text == "me");
  MUST_BE(option(plain.b, SOL_SOCKET, SO_PASSCRED), 1);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Pair stream = make_pair_of(SOCK_STREAM), packets = make_pair_of(SOCK_SEQPACKET), plain = make_pair_of(SOCK_DGRAM),
       sent = make_pair_of(SOCK_STREAM), deep = make_pair_of(SOCK_STREAM);
  std::string path = prefix + ".passed";
  int file = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
  MUST(write(file, "0123456789", 10) == 10 && lseek(file, 4, SEEK_SET) == 4);
  say(stream.a, "before");
  send_file(stream.a, file, "file");
  say(stream.a, "after");
  close(file);  // in the message only
  int kept = open("/dev/null", O_WRONLY);
  send_file(packets.a, kept, "null");
  int ends[2];
  MUST(pipe(ends) == 0 && write(ends[1], "pipe", 4) == 4);
  send_file(packets.a, ends[0], "reader");
  close(ends[0]);
  say(sent.a, "in the message");
  send_file(deep.a, sent.b, "socket");  // in a message in a message
  send_file(packets.a, deep.b, "inner");
  close(sent.b), close(deep.b);
  set_option(plain.b, SOL_SOCKET, SO_PASSCRED, 1);
  say(plain.a, "who");
  say(plain.a, "");
  say(plain.a, "me");
  ready();
  wait_for_end();
  Received got = receive(stream.b);
  MUST(got.text == "beforefile" && got.fd >= 0);
  MUST_BE(lseek(got.fd, 0, SEEK_CUR), 4);
  char digit = 0;
  MUST(read(got.fd, &digit, 1) == 1 && digit == '4');
  expect_heard(stream.b, "after");
  got = receive(packets.b);
  struct stat one {
  }, two{};
  MUST(got.text == "null" && fstat(got.fd, &one) == 0 && fstat(kept, &two) == 0 && one.st_rdev == two.st_rdev);
  got = receive(packets.b);
  char word[5] = {};
  MUST(got.text == "reader" && read(got.fd, word, 4) == 4 && strcmp(word, "pipe") == 0);
  close(ends[1]);
  MUST_BE(read(got.fd, word, 4), 0);
  got = receive(packets.b);
  MUST(got.text == "inner" && got.fd >= 0);
  Received inner = receive(got.fd);
  MUST(inner.text == "socket" && inner.fd >= 0);
  expect_heard(inner.fd, "in the message");
  both_ways(inner.fd, sent.a, "alive");
  check_senders(plain);
  unlink(path.c_str());
  return passed();
}
