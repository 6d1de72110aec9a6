// A ring of io_uring(7) that parent and child share, and a thread of the kernel's that works for it.
#include "family.h"
#include "ring.h"

using namespace workload;

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  Ring ring;
  if (!ring.make(4, 0)) skip("no io_uring here");
  const std::string path = prefix + ".read";
  write_file(path, "bytes");
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  MUST(file >= 0);
  char buffer[6] = {};
  io_uring_sqe& entry = ring.prepare(IORING_OP_READ, 1);
  entry.fd = file;
  entry.addr = reinterpret_cast<uint64_t>(buffer);
  entry.len = 5;
  entry.flags = IOSQE_ASYNC;  // by such a thread, which then stays
  MUST_BE(ring.submit(1), 1);
  ring.expect(1, 5, __LINE__);
  MUST(strcmp(buffer, "bytes") == 0);
  ring.prepare(IORING_OP_NOP, 2);
  MUST_BE(ring.submit(1), 1);
  const pid_t child = fork_child([&] {
    nursery.grown();
    wait_for_end();
    ring.expect(2, 0, __LINE__);
    ring.turn(3);
    _exit(4);
  });
  nursery.expect(1);
  // The kernel's own thread is not there any more.
  ready("loose threads\nloose masks\nloose credentials\nloose pending\n");
  wait_for_end();
  expect_end(child, 4);
  ring.catch_up();
  ring.turn(3);
  unlink(path.c_str());
  expect_childless();
  return passed();
}
