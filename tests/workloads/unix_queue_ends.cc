// What is hard to see in the queue of a unix socket: packets without bytes before its end, errors that wait behind
// bytes, and who sent a message where only a descriptor of the sender is asked for.
#include "sockets.h"

using namespace workload;

namespace {

// Seen by several dumps, messages without bytes are not told from none (docs/compatibility.md).
bool empty_ones_are_kept() {
  return getenv("MCR_DUMP_IS_KILLED") == nullptr;
}

struct Empty {
  Pair packets = make_pair_of(SOCK_SEQPACKET), first = make_pair_of(SOCK_SEQPACKET),
       last = make_pair_of(SOCK_SEQPACKET), datagrams = make_pair_of(SOCK_DGRAM);

  Empty() {
    for (const char* text : {"a", "", "b", "c"}) say(packets.a, text), say(datagrams.a, text);
    for (const char* text : {"", "b"}) say(first.a, text);
    for (const char* text : {"a", "", ""}) say(last.a, text);
    close(packets.a), close(first.a), close(last.a);
    MUST(shutdown(datagrams.b, SHUT_RD) == 0);
  }

  static bool is_stamped(int fd) {
    char byte = 0;
    iovec part{&byte, 1};
    alignas(cmsghdr) char control[256]{};
    msghdr message{};
    message.msg_iov = &part, message.msg_iovlen = 1;
    message.msg_control = control, message.msg_controllen = sizeof control;
    MUST(recvmsg(fd, &message, MSG_DONTWAIT) >= 0);
    return message.msg_controllen > 0;
  }

  void check() const {
    MUST_BE(option(last.b, SOL_SOCKET, SO_TIMESTAMP), 0);
    MUST_BE(option(packets.b, SOL_SOCKET, 42 /* SO_PEEK_OFF */), -1);
    if (!empty_ones_are_kept()) return;
    for (const char* text : {"a", "", "b", "c", ""}) expect_heard(packets.b, text);
    for (const char* text : {"", "b", ""}) expect_heard(first.b, text);
    for (const char* text : {"a", "", "b", "c", "nothing"}) expect_heard(datagrams.b, text);
    set_option(last.b, SOL_SOCKET, SO_TIMESTAMP, 1);  // which tells a packet from the end
    for (int i = 0; i < 3; ++i) MUST(is_stamped(last.b));
    MUST(!is_stamped(last.b));
  }
};

// Their peers were closed with something unread.
struct Reset {
  Pair packets = make_pair_of(SOCK_SEQPACKET), stream = make_pair_of(SOCK_STREAM), files = make_pair_of(SOCK_STREAM);

  Reset() {
    say(stream.a, "he");
    set_option(stream.b, SOL_SOCKET, SO_PASSCRED, 1);
    set_option(stream.b, SOL_SOCKET, SO_RCVLOWAT, 100);
    say(stream.a, "llo");
    say(files.a, "he");
    send_file(files.a, 0, "llo");
    for (const Pair& pair : {packets, stream, files}) say(pair.b, "unread"), close(pair.a);
  }

  void check() const {
    set_option(stream.b, SOL_SOCKET, SO_RCVLOWAT, 1);
    expect_heard(stream.b, "he"), expect_heard(stream.b, "llo");
    Received got = receive(files.b);
    MUST(got.text == "hello" && got.fd >= 0);
    for (const Pair& pair : {packets, stream, files}) expect_heard(pair.b, "ECONNRESET"), expect_heard(pair.b, "");
  }
};

// Messages that come with a descriptor of their sender (SO_PASSPIDFD, 6.5).
struct Identified {
  static constexpr int kPassPidfd = 76, kPidfd = 4;  // SCM_PIDFD
  Pair pair = make_pair_of(SOCK_DGRAM);
  bool has_it = true;

  Identified() {
    const int on = 1;
    has_it = setsockopt(pair.b, SOL_SOCKET, kPassPidfd, &on, sizeof on) == 0;
    say(pair.a, "one"), say(pair.a, "two");
  }
  void check() const {
    for (const char* text : {"one", "two"}) {
      char buffer[10];
      iovec part{buffer, sizeof buffer};
      alignas(cmsghdr) char control[256]{};
      msghdr message{};
      message.msg_iov = &part, message.msg_iovlen = 1;
      message.msg_control = control, message.msg_controllen = sizeof control;
      MUST(recvmsg(pair.b, &message, MSG_DONTWAIT) == 3 && memcmp(buffer, text, 3) == 0);
      if (!has_it) continue;
      const cmsghdr* head = CMSG_FIRSTHDR(&message);
      MUST(head && head->cmsg_type == kPidfd);
      int fd = -1;
      memcpy(&fd, CMSG_DATA(head), sizeof fd);
      const std::string info = read_file("/proc/self/fdinfo/" + std::to_string(fd));
      MUST(info.find("\nPid:\t" + std::to_string(getpid()) + "\n") != std::string::npos);
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  const Empty empty;
  const Reset reset;
  const Identified identified;
  ready();
  wait_for_end();
  empty.check();
  reset.check();
  identified.check();
  return passed();
}
