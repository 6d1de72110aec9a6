// Memory that children have from their parent since fork(2): unchanged on both sides, changed on one, given up, made
// larger, protected otherwise, in children of children, in a child that shares its parent's memory (CLONE_VM), in one
// whose parent has gone. Nobody sees what another writes, and what was one page is one page again.
#include <sys/mman.h>

#include <cerrno>

#include "family.h"

using namespace workload;

namespace {

constexpr size_t kPage = 4096, kPages = 2048, kBytes = kPages * kPage;

#define CHECK(condition) \
  if (!(condition)) _exit(__LINE__ % 80 + 10)

// Present pages of a mapping that more than one process has (bit 56 of pagemap is not set).
size_t common_pages(const unsigned char* at, size_t pages) {
  const int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  std::vector<uint64_t> words(pages);
  const off_t place = static_cast<off_t>(reinterpret_cast<uintptr_t>(at) / kPage * 8);
  const ssize_t got = pread(fd, words.data(), pages * 8, place);
  close(fd);
  if (got != static_cast<ssize_t>(pages * 8)) return 0;
  size_t common = 0;
  for (const uint64_t word : words) common += (word >> 63) != 0 && (word >> 56 & 1) == 0;
  return common;
}

unsigned char value_of(size_t page, unsigned who) {
  return static_cast<unsigned char>(page * 7 + page / 256 + who * 31 + 1);
}

void write_pages(unsigned char* at, size_t from, size_t to, unsigned who) {
  for (size_t page = from; page < to; ++page) memset(at + page * kPage, value_of(page, who), kPage);
}

bool has_pages(const unsigned char* at, size_t from, size_t to, unsigned who) {
  for (size_t page = from; page < to; ++page)
    for (size_t byte = 0; byte < kPage; byte += 97)
      if (at[page * kPage + byte] != value_of(page, who)) return false;
  return true;
}

bool is_zero(const unsigned char* at, size_t from, size_t to) {
  for (size_t byte = from * kPage; byte < to * kPage; byte += 101)
    if (at[byte] != 0) return false;
  return true;
}

struct Memory {
  unsigned char *all, *small;
};

// As many as before. (Asked about what the parent has not written to since.)
void expect_common(const unsigned char* at, size_t pages, size_t before) {
  const size_t now = common_pages(at, pages);
  if (now < before) fail("%d: %zu pages are common, they were %zu", getpid(), now, before);
}

[[noreturn]] void live_reader(Nursery& nursery, const Memory& m) {
  const size_t before = common_pages(m.all, 1500);
  nursery.grown();
  wait_for_end();
  expect_common(m.all, 1500, before);
  CHECK(has_pages(m.all, 0, kPages, 0) && has_pages(m.small, 0, 16, 0));
  write_pages(m.all, 0, kPages, 5);
  CHECK(has_pages(m.all, 0, kPages, 5));
  _exit(3);
}

[[noreturn]] void live_grandchild(Nursery& nursery, const Memory& m) {
  write_pages(m.all, 900, 910, 3);
  const size_t before = common_pages(m.all, 900);
  nursery.grown();
  wait_for_end();
  expect_common(m.all, 900, before);
  CHECK(has_pages(m.all, 0, 100, 0) && has_pages(m.all, 100, 200, 1) && is_zero(m.all, 300, 400));
  CHECK(has_pages(m.all, 500, 900, 0) && has_pages(m.all, 900, 910, 3) && has_pages(m.all, 910, kPages, 0));
  _exit(4);
}

// Writes to some, gives up some, makes one part unwritable and the heap larger, and has a child of its own.
[[noreturn]] void live_writer(Nursery& nursery, const Memory& m) {
  write_pages(m.all, 100, 200, 1);
  CHECK(madvise(m.all + 300 * kPage, 100 * kPage, MADV_DONTNEED) == 0);
  CHECK(munmap(m.all + 450 * kPage, 50 * kPage) == 0);
  CHECK(mprotect(m.small, 4 * kPage, PROT_READ) == 0);
  auto* heap = static_cast<unsigned char*>(sbrk(64 * kPage));
  write_pages(heap, 0, 64, 8);
  const pid_t child = fork_child([&] { live_grandchild(nursery, m); });
  write_pages(m.all, 1000, 1010, 2);
  nursery.grown();
  wait_for_end();
  CHECK(has_pages(m.all, 0, 100, 0) && has_pages(m.all, 100, 200, 1) && has_pages(m.all, 200, 300, 0));
  CHECK(is_zero(m.all, 300, 400) && has_pages(m.all, 400, 450, 0) && has_pages(m.all, 500, 1000, 0));
  CHECK(has_pages(m.all, 1000, 1010, 2) && has_pages(m.all, 1010, kPages, 0) && has_pages(heap, 0, 64, 8));
  CHECK(has_pages(m.small, 0, 16, 0));
  int fds[2];
  CHECK(pipe(fds) == 0 && write(fds[1], "x", 1) == 1);
  CHECK(read(fds[0], m.small, 1) == -1 && errno == EFAULT);  // still unwritable
  expect_end(child, 4);
  _exit(5);
}

// Its maker ends at once: it belongs to the root then, whose memory it has all the same.
[[noreturn]] void live_orphan(Nursery& nursery, const Memory& m) {
  while (getppid() != getsid(0)) sleep_ms(1);
  nursery.grown();
  wait_for_end();
  CHECK(has_pages(m.all, 0, 1500, 0) && has_pages(m.all, 1600, kPages, 0) && has_pages(m.all, 1500, 1600, 0));
  _exit(6);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  MUST(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
  Memory m{};
  m.all =
      static_cast<unsigned char*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  // Apart from whatever lies beside it: whether the kernel joins the two depends on who has touched which first.
  auto* apart = static_cast<unsigned char*>(mmap(nullptr, 18 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  MUST(m.all != MAP_FAILED && apart != MAP_FAILED);
  m.small = apart + kPage;
  MUST(mprotect(m.small, 16 * kPage, PROT_READ | PROT_WRITE) == 0);
  MUST(madvise(m.all, kBytes, MADV_NOHUGEPAGE) == 0);
  write_pages(m.all, 0, kPages, 0);
  write_pages(m.small, 0, 16, 0);
  Nursery nursery;
  const pid_t reader = fork_child([&] { live_reader(nursery, m); });
  const pid_t writer = fork_child([&] { live_writer(nursery, m); });
  const pid_t maker = fork_child([&] {
    fork_child([&] { live_orphan(nursery, m); });
    _exit(0);
  });
  expect_status(maker, 0);
  nursery.expect(4);
  // The parent's own: the children keep what was there.
  write_pages(m.all, 1500, 1600, 9);
  MUST(madvise(m.all + 1700 * kPage, 50 * kPage, MADV_DONTNEED) == 0);
  const size_t before = common_pages(m.all, 1500);
  ready();
  wait_for_end();
  expect_common(m.all, 1500, before);
  if (!has_pages(m.all, 0, 1500, 0) || !has_pages(m.all, 1500, 1600, 9) || !has_pages(m.all, 1600, 1700, 0) ||
      !is_zero(m.all, 1700, 1750) || !has_pages(m.all, 1750, kPages, 0) || !has_pages(m.small, 0, 16, 0))
    fail("the parent's memory is not what it was");
  expect_end(reader, 3);
  expect_end(writer, 5);
  int status = 0;
  const pid_t orphan = [] {
    for (const std::string text = read_file("/proc/self/task/" + std::to_string(getpid()) + "/children");
         !text.empty();)
      return static_cast<pid_t>(atoi(text.c_str()));
    return pid_t{0};
  }();
  MUST(orphan > 0 && kill(orphan, SIGTERM) == 0);
  MUST(waitpid(orphan, &status, 0) == orphan);
  if (status != 6 << 8) fail("the orphan ended with %x", status);
  expect_childless();
  return passed();
}
