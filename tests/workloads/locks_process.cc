// Locks of a process (fcntl(2), F_SETLK): ranges, to read and to write, to the end of the file, through two open files;
// on a deleted file, a FIFO and a folder's neighbour too. A child sees who has them.
#include <sys/file.h>

#include "family.h"

using namespace workload;

namespace {

void lock(int fd, short type, off_t start, off_t bytes) {
  struct flock request {};
  request.l_type = type, request.l_start = start, request.l_len = bytes;
  if (fcntl(fd, F_SETLK, &request) != 0) fail("lock %ld %ld: %s", start, bytes, strerror(errno));
}

// Whom a child would meet who wants to write there; 0: nobody.
struct flock seen_at(const std::string& door, off_t start) {
  int report[2];
  if (pipe(report) != 0) fail("pipe: %s", strerror(errno));
  pid_t child = fork_child([&] {
    int fd = open(door.c_str(), O_RDWR);
    struct flock request {};
    request.l_type = F_WRLCK, request.l_start = start, request.l_len = 1;
    if (fd < 0 || fcntl(fd, F_GETLK, &request) != 0) _exit(1);
    if (write(report[1], &request, sizeof request) != sizeof request) _exit(2);
    _exit(0);
  });
  struct flock found {};
  MUST_BE(read(report[0], &found, sizeof found), sizeof found);
  expect_status(child, 0);
  close(report[0]), close(report[1]);
  return found;
}

void expect_lock(const std::string& door, off_t at, short type, off_t start, off_t bytes) {
  struct flock found = seen_at(door, at);
  if (found.l_type != type) fail("at %ld of %s: type %d, not %d", at, door.c_str(), found.l_type, type);
  if (type == F_UNLCK) return;
  MUST_BE(found.l_pid, getpid());
  MUST_BE(found.l_start, start);
  MUST_BE(found.l_len, bytes);
}

std::string door_of(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  const std::string path = prefix + ".locked", gone = prefix + ".gone", fifo = prefix + ".fifo";
  int one = open(path.c_str(), O_RDWR | O_CREAT, 0600), two = open(path.c_str(), O_RDONLY);
  int copy = dup(one);
  MUST(one >= 0 && two >= 0 && copy >= 0);
  lock(one, F_WRLCK, 0, 10);
  lock(copy, F_RDLCK, 20, 1);
  lock(two, F_RDLCK, 100, 50);
  lock(one, F_WRLCK, 1'000'000'000'000, 0);
  int deleted = open(gone.c_str(), O_RDWR | O_CREAT, 0600);
  lock(deleted, F_WRLCK, 7, 3);
  MUST_BE(unlink(gone.c_str()), 0);
  MUST_BE(mkfifo(fifo.c_str(), 0600), 0);
  int named = open(fifo.c_str(), O_RDWR);
  lock(named, F_WRLCK, 0, 0);
  ready("dump --file-locks\n");
  wait_for_end();

  expect_lock(path, 0, F_WRLCK, 0, 10);
  expect_lock(path, 9, F_WRLCK, 0, 10);
  expect_lock(path, 10, F_UNLCK, 0, 0);
  expect_lock(path, 20, F_RDLCK, 20, 1);
  expect_lock(path, 21, F_UNLCK, 0, 0);
  expect_lock(path, 149, F_RDLCK, 100, 50);
  expect_lock(path, 2'000'000'000'000, F_WRLCK, 1'000'000'000'000, 0);
  expect_lock(door_of(deleted), 8, F_WRLCK, 7, 3);
  expect_lock(door_of(deleted), 3, F_UNLCK, 0, 0);
  expect_lock(fifo, 5, F_WRLCK, 0, 0);
  close(two);  // takes all locks of the process on that file with it
  expect_lock(path, 0, F_UNLCK, 0, 0);
  return passed();
}
