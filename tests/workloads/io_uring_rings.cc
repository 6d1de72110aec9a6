// io_uring(7): rings of different shapes at different positions, with completions that wait, entries that were not
// handed over, registered buffers; one that is disabled yet; one in a process that has closed nothing but never used
// it.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include "ring.h"

using namespace workload;

namespace {

void expect_reading(Ring& ring, int file) {
  char buffer[6] = {};
  io_uring_sqe& entry = ring.prepare(IORING_OP_READ, 77);
  entry.fd = file;
  entry.addr = reinterpret_cast<uint64_t>(buffer);
  entry.len = 5;
  MUST_BE(ring.submit(1), 1);
  ring.expect(77, 5, __LINE__);
  MUST(strcmp(buffer, "bytes") == 0);
}

// What the ring tells of itself, without the counters of time.
std::string info_of(const Ring& ring) {
  const std::string text = read_file("/proc/self/fdinfo/" + std::to_string(ring.fd()));
  return text.substr(text.find("SqMask"));
}

void expect_enabling(Ring& disabled) {
  disabled.prepare(IORING_OP_NOP, 1);
  MUST_BE(disabled.submit(), -EBADFD);
  MUST_BE(syscall(SYS_io_uring_register, disabled.fd(), IORING_REGISTER_ENABLE_RINGS, nullptr, 0), 0);
  MUST_BE(disabled.submit(1), 1);
  disabled.expect(1, 0, __LINE__);
}

// Three completions that wait, and two entries that are not handed over.
void leave_work(Ring& ring, int file, char* fixed) {
  ring.turn(37);
  for (uint64_t data : {101, 102, 103}) ring.prepare(IORING_OP_NOP, data);
  MUST_BE(ring.submit(3), 3);
  ring.prepare(IORING_OP_NOP, 104);
  ring.publish();
  io_uring_sqe& entry = ring.prepare(IORING_OP_READ_FIXED, 105);
  entry.fd = file;
  entry.addr = reinterpret_cast<uint64_t>(fixed);
  entry.len = 5;
  entry.buf_index = 2;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Ring plain;
  if (!plain.make(8, 0)) skip("no io_uring here");
  const std::string path = prefix + ".read";
  write_file(path, "bytes");
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  MUST(file >= 0);
  Ring others[5];
  bool has[5] = {};
  const unsigned flags[5] = {1u << 16, 1u << 10, 1u << 11, 1u << 10 | 1u << 11 | 1u << 16, IORING_SETUP_CLAMP};
  for (int i = 0; i < 5; ++i) {
    has[i] = others[i].make(i == 4 ? 4096 : 4, flags[i]);
    if (has[i]) others[i].turn(static_cast<unsigned>(3 + 1000 * i));
  }
  Ring disabled, unused;
  MUST(disabled.make(2, IORING_SETUP_R_DISABLED));
  MUST(unused.make(1, 0));
  static char fixed[3 * 4096];
  const iovec buffers[3] = {{fixed, 4096}, {nullptr, 0}, {fixed + 5000, 3000}};
  MUST_BE(syscall(SYS_io_uring_register, plain.fd(), IORING_REGISTER_BUFFERS, buffers, 3), 0);
  leave_work(plain, file, fixed + 5003);
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{EPOLLIN, {.u64 = 9}};
  MUST_BE(epoll_ctl(epoll, EPOLL_CTL_ADD, plain.fd(), &event), 0);
  const int copy = dup(plain.fd());
  const std::string shown = info_of(plain);
  ready();
  wait_for_end();
  if (const std::string now = info_of(plain); now != shown) fail("fdinfo was\n%s, is\n%s", shown.c_str(), now.c_str());
  MUST_BE(fcntl(plain.fd(), F_GETFD), FD_CLOEXEC);
  MUST_BE(fcntl(copy, F_GETFD), 0);
  MUST(epoll_wait(epoll, &event, 1, 0) == 1 && event.data.u64 == 9);
  for (uint64_t data : {101, 102, 103}) plain.expect(data, 0, __LINE__);
  MUST_BE(plain.unsubmitted(), 2);
  MUST_BE(plain.submit(2), 2);
  plain.expect(104, 0, __LINE__);
  plain.expect(105, 5, __LINE__);
  MUST(memcmp(fixed + 5003, "bytes", 5) == 0);
  expect_reading(plain, file);
  plain.turn(20);
  for (int i = 0; i < 5; ++i) {
    if (!has[i]) continue;
    MUST_BE(others[i].completed(), 0);
    MUST_BE(lseek(file, 0, SEEK_SET), 0);
    others[i].turn(9);
    expect_reading(others[i], file);
  }
  expect_enabling(disabled);
  unused.turn(5);
  MUST_BE(syscall(SYS_io_uring_register, plain.fd(), IORING_UNREGISTER_BUFFERS, nullptr, 0), 0);
  unlink(path.c_str());
  return passed();
}
