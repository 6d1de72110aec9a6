// An epoll that parent and child share, with a pipe that only the child has open any more; an epoll of the child alone
// with a signalfd of its own; a parent that waits in epoll_wait meanwhile.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include "family.h"

using namespace workload;

namespace {

void add(int epoll, int fd, uint32_t events, uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

uint64_t wait_one(int epoll) {
  epoll_event event{};
  int got;
  do got = epoll_wait(epoll, &event, 1, 20000);
  while (got < 0 && errno == EINTR);
  return got == 1 ? event.data.u64 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  const int shared = epoll_create1(0), counter = eventfd(0, EFD_NONBLOCK);
  int ends[2];
  MUST(pipe(ends) == 0);
  add(shared, ends[0], EPOLLIN, 11);
  add(shared, counter, EPOLLIN | EPOLLET, 12);
  const pid_t child = fork_child([&] {
    sigset_t usr;
    sigemptyset(&usr);
    sigaddset(&usr, SIGUSR2);
    sigprocmask(SIG_BLOCK, &usr, nullptr);
    const int own = epoll_create1(0), signals = signalfd(-1, &usr, SFD_NONBLOCK);
    add(own, signals, EPOLLIN, 21);
    add(own, counter, EPOLLIN, 22);
    nursery.grown();
    wait_for_end();
    epoll_event event{};
    if (epoll_wait(own, &event, 1, 0) != 0) _exit(20);
    kill(getpid(), SIGUSR2);
    if (wait_one(own) != 21) _exit(21);
    signalfd_siginfo info{};
    if (read(signals, &info, sizeof info) != sizeof info) _exit(22);
    const uint64_t value = 1;
    if (write(counter, &value, sizeof value) != sizeof value) _exit(23);
    if (wait_one(own) != 22) _exit(24);
    if (write(ends[1], "p", 1) != 1) _exit(25);
    _exit(4);
  });
  close(ends[0]);
  close(ends[1]);
  nursery.expect(1);
  ready();
  wait_for_end();
  epoll_event event{};
  MUST_BE(epoll_wait(shared, &event, 1, 0), 0);
  MUST(kill(child, SIGTERM) == 0);
  const uint64_t first = wait_one(shared);
  MUST(first == 11 || first == 12);  // the pipe goes with the child
  expect_status(child, 4 << 8);
  expect_childless();
  return passed();
}
