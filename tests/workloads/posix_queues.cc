// POSIX message queues: one with messages, which outlives the program, open twice with different flags and in a child;
// an empty one with limits of its own.
#include <mqueue.h>

#include "family.h"

using namespace workload;

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  const std::string base = "/mini-criu-test-" + std::to_string(getpid()), full = base + "-full",
                    empty = base + "-empty";
  mq_unlink(full.c_str()), mq_unlink(empty.c_str());
  mq_attr limits{};
  limits.mq_maxmsg = 7, limits.mq_msgsize = 100;
  mqd_t sender = mq_open(full.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0640, &limits);
  if (sender < 0 && errno == ENOSYS) skip("the kernel has no POSIX message queues");
  MUST(sender >= 0);
  mqd_t receiver = mq_open(full.c_str(), O_RDONLY | O_NONBLOCK);
  mqd_t both = mq_open(empty.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &limits);
  MUST(receiver >= 0 && both >= 0);
  MUST(mq_send(sender, "low", 3, 1) == 0 && mq_send(sender, "high", 4, 9) == 0 && mq_send(sender, "", 0, 5) == 0);
  pid_t child = fork_child([&] {
    close(sender), close(receiver);
    nursery.grown();
    char text[100];
    unsigned priority = 0;
    if (mq_receive(both, text, sizeof text, &priority) != 5 || memcmp(text, "hello", 5) != 0 || priority != 3)
      _exit(10);
    _exit(4);
  });
  nursery.expect(1);
  sleep_ms(20);
  ready();
  wait_for_end();
  mq_attr now{};
  MUST(mq_getattr(receiver, &now) == 0);
  MUST_BE(now.mq_flags, O_NONBLOCK);
  MUST_BE(now.mq_maxmsg, 7);
  MUST_BE(now.mq_msgsize, 100);
  MUST_BE(now.mq_curmsgs, 3);
  char text[100];
  unsigned priority = 0;
  MUST(mq_receive(sender, text, sizeof text, &priority) == -1 && errno == EBADF);
  MUST(mq_receive(receiver, text, sizeof text, &priority) == 4 && priority == 9 && memcmp(text, "high", 4) == 0);
  MUST(mq_receive(receiver, text, sizeof text, &priority) == 0 && priority == 5);
  MUST(mq_receive(receiver, text, sizeof text, &priority) == 3 && priority == 1);
  MUST(mq_receive(receiver, text, sizeof text, &priority) == -1 && errno == EAGAIN);
  MUST(mq_getattr(both, &now) == 0);
  MUST_BE(now.mq_flags, 0);
  MUST_BE(now.mq_maxmsg, 7);
  struct stat status {};
  MUST(fstat(both, &status) == 0);
  MUST_BE(status.st_mode & 0777, 0600);
  MUST(mq_send(both, "hello", 5, 3) == 0);
  expect_status(child, 4 << 8);
  MUST(mq_unlink(full.c_str()) == 0 && mq_unlink(empty.c_str()) == 0);
  expect_childless();
  return passed();
}
