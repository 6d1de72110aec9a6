// Shared anonymous memory of several processes: inherited over fork, then unmapped in part, moved, protected and made
// larger by each on its own; memory that the parent has given up; shared mappings of /dev/zero.
#include <sys/mman.h>

#include "family.h"

using namespace workload;

namespace {

constexpr size_t kPage = 4096, kPages = 40, kSize = kPages * kPage;

struct Board {  // where all meet
  volatile int round, answers[4];
};

unsigned char* map_shared(size_t size, int fd = -1, off_t offset = 0) {
  void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, offset);
  MUST(at != MAP_FAILED);
  return static_cast<unsigned char*>(at);
}

// What lies behind the end of the memory cannot be touched.
bool is_readable(const unsigned char* at) {
  int fds[2];
  MUST(pipe(fds) == 0);
  const bool readable = write(fds[1], at, 1) == 1;
  close(fds[0]), close(fds[1]);
  return readable;
}

void await(const volatile int& value, int wanted) {
  for (int i = 0; i < 5000 && value != wanted; ++i) sleep_ms(2);
  if (value != wanted) _exit(90);
}

#define CHECK(condition) \
  if (!(condition)) _exit(__LINE__ % 80 + 10)

struct Memory {
  Board* board;
  unsigned char *all, *given_up, *device, *whole;
};

[[noreturn]] void live_first(Nursery& nursery, const Memory& m) {
  CHECK(munmap(m.all + 10 * kPage, 5 * kPage) == 0 && mprotect(m.all, 2 * kPage, PROT_READ) == 0);
  auto* moved = static_cast<unsigned char*>(mremap(m.given_up, 4 * kPage, 9 * kPage, MREMAP_MAYMOVE));
  CHECK(moved != MAP_FAILED);
  nursery.grown();
  wait_for_end();
  await(m.board->round, 1);
  CHECK(differs(m.all, 10 * kPage, 21) == -1 && m.all[39 * kPage] == 77);
  CHECK(differs(moved, 4 * kPage, 22) == -1 && is_readable(moved) && !is_readable(moved + 4 * kPage));
  moved[kPage] = 91;
  CHECK(!is_readable(m.device) && m.whole[3 * kPage] == 78);
  m.board->answers[0] = 1;
  await(m.board->answers[1], 2);
  CHECK(moved[2 * kPage] == 92 && m.all[30 * kPage] == 93);
  _exit(4);
}

[[noreturn]] void live_third(Nursery& nursery, const Memory& m) {
  CHECK(munmap(m.given_up, 3 * kPage) == 0);
  nursery.grown();
  wait_for_end();
  await(m.board->answers[0], 1);
  CHECK(m.given_up[3 * kPage + 5] == 94);
  m.all[30 * kPage] = 93;
  m.board->answers[2] = 3;
  _exit(6);
}

[[noreturn]] void live_second(Nursery& nursery, const Memory& m) {
  CHECK(munmap(m.all, 25 * kPage) == 0 && munmap(m.whole, 4 * kPage) == 0);
  pid_t third = fork_child([&] { live_third(nursery, m); });
  nursery.grown();
  wait_for_end();
  await(m.board->answers[0], 1);
  CHECK(m.given_up[kPage] == 91 && m.all[39 * kPage] == 77);
  m.given_up[2 * kPage] = 92;
  m.given_up[3 * kPage + 5] = 94;
  CHECK(kill(third, SIGTERM) == 0);
  await(m.board->answers[2], 3);
  m.board->answers[1] = 2;
  int status = 0;
  CHECK(waitpid(third, &status, 0) == third && status == 6 << 8);
  _exit(5);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
  // One of them with an offset that lies behind its end.
  const Memory m{reinterpret_cast<Board*>(map_shared(sizeof(Board))), map_shared(kSize), map_shared(4 * kPage),
                 map_shared(4 * kPage, zero, 16 * kPage), map_shared(4 * kPage, zero)};
  fill(m.all, 30 * kPage, 21);
  fill(m.given_up, 4 * kPage, 22);
  fill(m.whole, 2 * kPage, 23);
  close(zero);
  pid_t first = fork_child([&] { live_first(nursery, m); }), second = fork_child([&] { live_second(nursery, m); });
  MUST(munmap(m.given_up, 4 * kPage) == 0);
  MUST(mprotect(m.all + 20 * kPage, kPage, PROT_NONE) == 0);
  nursery.expect(3);

  ready();
  wait_for_end();
  MUST_BE(m.board->round, 0);
  MUST_BE(differs(m.all, 20 * kPage, 21), -1);
  MUST_BE(differs_from(m.all + 30 * kPage, 10 * kPage, 0), -1);
  MUST_BE(differs(m.whole, 2 * kPage, 23), -1);
  m.all[39 * kPage] = 77;
  m.whole[3 * kPage] = 78;
  m.board->round = 1;
  MUST(kill(first, SIGTERM) == 0 && kill(second, SIGTERM) == 0);
  expect_status(first, 4 << 8);
  expect_status(second, 5 << 8);
  MUST_BE(m.all[30 * kPage], 93);
  expect_childless();
  return passed();
}
