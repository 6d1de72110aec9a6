// pidfd_open(2): of the process itself, its parent, a child that lives, one that is a zombie, one that was waited for.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "family.h"

using namespace workload;

namespace {

int open_pidfd(pid_t pid, unsigned flags = 0) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, flags));
  if (fd < 0) fail("pidfd_open %d: %s", pid, strerror(errno));
  return fd;
}

bool has_ended(int pidfd) {
  pollfd entry{pidfd, POLLIN, 0};
  MUST(poll(&entry, 1, 0) >= 0);
  return (entry.revents & POLLIN) != 0;
}

int send(int pidfd, int signal) {
  return static_cast<int>(syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}

int wait_for(int pidfd) {
  siginfo_t info{};
  MUST_BE(waitid(static_cast<idtype_t>(3), static_cast<id_t>(pidfd), &info, WEXITED), 0);  // P_PIDFD
  return info.si_status;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  const pid_t me = getpid(), child = fork_child([&] { live(nursery, 5); });
  const pid_t zombie = fork_child([] { _exit(7); });
  const pid_t gone = fork_child([] { _exit(9); });
  const int self = open_pidfd(me), living = open_pidfd(child, O_NONBLOCK), of_zombie = open_pidfd(zombie);
  const int of_gone = open_pidfd(gone);
  expect_status(gone, 9 << 8);
  siginfo_t info{};
  MUST_BE(waitid(P_PID, static_cast<id_t>(zombie), &info, WEXITED | WNOWAIT), 0);
  const pid_t watcher = fork_child([&] {  // shares them, and has one of its parent
    const int parent = open_pidfd(me);
    nursery.grown();
    wait_for_end();
    if (has_ended(living) || has_ended(parent) || has_ended(self) || !has_ended(of_zombie) || !has_ended(of_gone))
      _exit(20);
    if (send(parent, 0) != 0 || send(living, 0) != 0) _exit(21);
    _exit(6);
  });
  const int epoll = epoll_create1(0);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = 33;
  MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, living, &event) == 0);
  nursery.expect(2);
  ready();
  wait_for_end();
  MUST(!has_ended(self) && !has_ended(living) && has_ended(of_zombie) && has_ended(of_gone));
  MUST_BE(fcntl(living, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  MUST_BE(send(of_gone, 0), -1);
  MUST_BE(errno, ESRCH);
  MUST_BE(wait_for(of_zombie), 7);
  expect_end(watcher, 6);
  MUST_BE(epoll_wait(epoll, &event, 1, 0), 0);
  MUST_BE(send(living, SIGTERM), 0);
  MUST_BE(epoll_wait(epoll, &event, 1, 20000), 1);
  MUST_BE(event.data.u64, 33);
  MUST_BE(wait_for(living), 5);
  expect_childless();
  return passed();
}
