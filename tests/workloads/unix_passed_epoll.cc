// An epoll that is open in a message of a unix socket and nowhere else, with what it watches: that very socket, and an
// eventfd that only another message holds.
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "sockets.h"

using namespace workload;

namespace {

void watch(int epoll, int fd, uint64_t data) {
  epoll_event event{};
  event.events = EPOLLIN, event.data.u64 = data;
  MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Pair pair = make_pair_of(SOCK_DGRAM), other = make_pair_of(SOCK_STREAM);
  int epoll = epoll_create1(EPOLL_CLOEXEC), counter = eventfd(3, EFD_NONBLOCK);
  MUST(epoll >= 0 && counter >= 0);
  watch(epoll, pair.b, 1);
  watch(epoll, counter, 2);
  send_file(pair.a, epoll, "epoll");
  send_file(pair.a, epoll, "again");
  send_file(other.a, counter, "counter");
  close(epoll);
  close(counter);
  ready();
  wait_for_end();
  Received first = receive(pair.b), second = receive(pair.b), third = receive(other.b);
  MUST(first.text == "epoll" && second.text == "again" && third.text == "counter");
  epoll_event told[4];
  MUST_BE(epoll_wait(first.fd, told, 4, 0), 1);
  MUST_BE(told[0].data.u64, 2);
  say(pair.a, "more");
  MUST_BE(epoll_wait(second.fd, told, 4, 0), 2);
  uint64_t count = 0;
  MUST_BE(read(third.fd, &count, sizeof count), 8);
  MUST_BE(count, 3);
  MUST_BE(epoll_wait(second.fd, told, 4, 0), 1);
  MUST_BE(told[0].data.u64, 1);
  return passed();
}
