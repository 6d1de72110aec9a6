// Counters of eventfd(2): the whole range, semaphores, blocking and not; one that parent and child share.
#include <sys/eventfd.h>

#include "family.h"

using namespace workload;

namespace {

constexpr uint64_t kMost = 0xfffffffffffffffe;

uint64_t take(int fd) {
  uint64_t value = 0;
  MUST_BE(read(fd, &value, sizeof value), sizeof value);
  return value;
}

void expect_empty(int fd) {
  uint64_t value = 0;
  MUST_BE(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  MUST_BE(read(fd, &value, sizeof value), -1);
  MUST_BE(errno, EAGAIN);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  const int zero = eventfd(0, EFD_NONBLOCK), one = eventfd(1, EFD_CLOEXEC), most = eventfd(0, EFD_NONBLOCK);
  const int empty_semaphore = eventfd(0, EFD_SEMAPHORE), semaphore = eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK);
  const int shared = eventfd(2, EFD_SEMAPHORE), answer = eventfd(0, 0);
  MUST(answer >= 0);
  uint64_t value = kMost;
  MUST_BE(write(most, &value, sizeof value), sizeof value);
  const pid_t child = fork_child([&] {
    const uint64_t more = 2;
    if (write(shared, &more, sizeof more) != sizeof more) _exit(20);
    nursery.grown();
    wait_for_end();
    if (take(shared) != 1) _exit(21);
    const uint64_t said = 77;
    if (write(answer, &said, sizeof said) != sizeof said) _exit(22);
    _exit(4);
  });
  nursery.expect(1);
  ready();
  wait_for_end();
  MUST_BE(fcntl(zero, F_GETFL), O_RDWR | O_NONBLOCK);
  MUST_BE(fcntl(one, F_GETFL), O_RDWR);
  MUST_BE(fcntl(one, F_GETFD), FD_CLOEXEC);
  MUST_BE(fcntl(zero, F_GETFD), 0);
  expect_empty(zero);
  MUST_BE(take(one), 1);
  expect_empty(one);
  value = 1;
  MUST_BE(write(most, &value, sizeof value), -1);  // it is full
  MUST_BE(errno, EAGAIN);
  MUST(take(most) == kMost);
  for (int i = 0; i < 3; ++i) MUST_BE(take(semaphore), 1);
  expect_empty(semaphore);
  value = 5;
  MUST_BE(write(empty_semaphore, &value, sizeof value), sizeof value);
  MUST_BE(take(empty_semaphore), 1);
  expect_end(child, 4);
  MUST_BE(take(answer), 77);
  for (int i = 0; i < 3; ++i) MUST_BE(take(shared), 1);  // two of ours, two of the child, one taken by it
  expect_empty(shared);
  expect_childless();
  return passed();
}
