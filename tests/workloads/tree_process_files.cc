// Files of /proc about a child, about a parent, and about oneself, shared by fork: one position for both.
#include "family.h"

using namespace workload;

namespace {

std::string proc(pid_t pid, const std::string& name) {
  return "/proc/" + std::to_string(pid) + "/" + name;
}

int open_of(pid_t pid, const std::string& name, int flags = O_RDONLY) {
  int fd = open(proc(pid, name).c_str(), flags);
  if (fd < 0) fail("open %s: %s", proc(pid, name).c_str(), strerror(errno));
  return fd;
}

std::string next(int fd, size_t size) {
  std::string text(size, '\0');
  ssize_t n = read(fd, text.data(), size);
  if (n < 0) fail("read: %s", strerror(errno));
  text.resize(static_cast<size_t>(n));
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  pid_t self = getpid();
  int shared = open_of(self, "status");  // its position is that of parent and child
  std::string whole = read_file(proc(self, "limits"));
  int limits = open_of(self, "limits");
  MUST(next(limits, 100) == whole.substr(0, 100));
  static volatile pid_t mark = -1;  // the child's own has another value
  pid_t child = fork_child([&] {
    mark = 0;
    int parent_stat = open_of(self, "stat");
    nursery.grown();
    wait_for_end();
    if (!next(parent_stat, 4096).starts_with(std::to_string(self) + " ")) _exit(11);
    if (lseek(shared, 0, SEEK_CUR) != 0) _exit(12);
    if (next(shared, 5) != "Name:") _exit(13);
    if (next(limits, 100) != whole.substr(100, 100)) _exit(14);
    _exit(10);
  });
  nursery.expect(1);
  int stat = open_of(child, "stat");
  int memory = open_of(child, "mem", O_RDWR);
  int folder = open_of(child, "task", O_PATH | O_DIRECTORY);
  ready();
  wait_for_end();

  MUST(next(stat, 4096).starts_with(std::to_string(child) + " "));
  MUST_BE(lseek(memory, reinterpret_cast<off_t>(&mark), SEEK_SET), reinterpret_cast<off_t>(&mark));
  pid_t seen = -1;
  MUST_BE(read(memory, &seen, sizeof seen), sizeof seen);
  MUST_BE(seen, 0);
  MUST(faccessat(folder, std::to_string(child).c_str(), F_OK, 0) == 0);
  expect_end(child, 10);
  MUST_BE(lseek(shared, 0, SEEK_CUR), 5);
  MUST(next(limits, 50) == whole.substr(200, 50));
  MUST(read(stat, &seen, 1) <= 0);  // about nobody any more
  expect_childless();
  return passed();
}
