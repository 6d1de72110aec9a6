// signalfd(2): masks, and signals that wait in it, of the process, of a thread, and of a child that shares it.
#include <pthread.h>
#include <sys/signalfd.h>

#include "family.h"

using namespace workload;

namespace {

sigset_t set_of(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) sigaddset(&set, signal);
  return set;
}

void expect(int fd, int signal, int value) {
  signalfd_siginfo info{};
  MUST_BE(read(fd, &info, sizeof info), sizeof info);
  MUST_BE(info.ssi_signo, signal);
  MUST_BE(info.ssi_int, value);
}

void expect_empty(int fd) {
  signalfd_siginfo info{};
  MUST_BE(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  MUST_BE(read(fd, &info, sizeof info), -1);
  MUST_BE(errno, EAGAIN);
}

void send(pid_t pid, int signal, int number) {
  sigval value{};
  value.sival_int = number;
  MUST(sigqueue(pid, signal, value) == 0);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  const sigset_t all = set_of({SIGUSR1, SIGUSR2, SIGRTMIN + 3, 64});
  MUST(sigprocmask(SIG_BLOCK, &all, nullptr) == 0);
  const sigset_t first = set_of({SIGUSR1, 64}), second = set_of({SIGRTMIN + 3}), nothing = set_of({});
  const int one = signalfd(-1, &first, SFD_NONBLOCK), two = signalfd(-1, &second, SFD_CLOEXEC);
  const int none = signalfd(-1, &nothing, 0);
  MUST(none >= 0);
  const pid_t child = fork_child([&] {
    send(getpid(), SIGUSR1, 100);
    nursery.grown();
    wait_for_end();
    expect(one, SIGUSR1, 100);
    expect_empty(two);
    _exit(4);
  });
  nursery.expect(1);
  send(getpid(), SIGUSR1, 1);
  send(getpid(), 64, 2);
  for (int i = 0; i < 3; ++i) send(getpid(), SIGRTMIN + 3, 10 + i);
  ready();
  wait_for_end();
  MUST_BE(fcntl(one, F_GETFL), O_RDWR | O_NONBLOCK);
  MUST_BE(fcntl(two, F_GETFD), FD_CLOEXEC);
  for (int i = 0; i < 3; ++i) expect(two, SIGRTMIN + 3, 10 + i);
  expect(one, SIGUSR1, 1);
  expect(one, 64, 2);
  expect_end(child, 4);
  expect_empty(one);
  expect_empty(two);
  const sigset_t changed = set_of({SIGUSR2});
  MUST_BE(signalfd(none, &changed, 0), none);
  send(getpid(), SIGUSR2, 5);
  expect(none, SIGUSR2, 5);
  expect_childless();
  return passed();
}
