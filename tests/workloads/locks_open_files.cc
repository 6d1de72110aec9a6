// Locks of open files: flock(2) and F_OFD_SETLK, shared by duplicates and by a child, exclusive and not; on a file, a
// folder, a deleted file, a memfd. Another open file meets them until the last descriptor is closed.
#include <sys/file.h>
#include <sys/mman.h>

#include "family.h"

using namespace workload;

namespace {

void lock(int fd, short type, off_t start, off_t bytes) {
  struct flock request {};
  request.l_type = type, request.l_start = start, request.l_len = bytes;
  if (fcntl(fd, F_OFD_SETLK, &request) != 0) fail("lock %ld %ld: %s", start, bytes, strerror(errno));
}

short type_at(int fd, off_t at) {
  struct flock request {};
  request.l_type = F_WRLCK, request.l_start = at, request.l_len = 1;
  if (fcntl(fd, F_OFD_GETLK, &request) != 0) fail("F_OFD_GETLK: %s", strerror(errno));
  return request.l_type;
}

int reopen(int fd, int flags = O_RDWR) {
  int other = open(("/proc/self/fd/" + std::to_string(fd)).c_str(), flags);
  if (other < 0) fail("reopen: %s", strerror(errno));
  return other;
}

// What another open file of the same may do: 'x' all, 's' share, '-' nothing.
char left_for_others(int fd, int flags = O_RDWR) {
  int other = reopen(fd, flags);
  char left = '-';
  if (flock(other, LOCK_SH | LOCK_NB) == 0) left = 's';
  if (flock(other, LOCK_EX | LOCK_NB) == 0) left = 'x';
  close(other);
  return left;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  Nursery nursery;
  const std::string path = prefix + ".locked", gone = prefix + ".gone", folder = prefix + ".folder";
  int alone = open(path.c_str(), O_RDWR | O_CREAT, 0600);
  MUST_BE(flock(alone, LOCK_EX), 0);
  int copy = dup(alone);
  lock(alone, F_WRLCK, 10, 5);
  lock(alone, F_RDLCK, 50, 0);
  MUST_BE(mkdir(folder.c_str(), 0700), 0);
  int directory = open(folder.c_str(), O_RDONLY | O_DIRECTORY);
  MUST_BE(flock(directory, LOCK_SH), 0);
  int deleted = open(gone.c_str(), O_RDWR | O_CREAT, 0600);
  MUST_BE(flock(deleted, LOCK_SH), 0);
  MUST_BE(unlink(gone.c_str()), 0);
  int memory = static_cast<int>(memfd_create("locked", 0));
  lock(memory, F_WRLCK, 0, 0);
  int free_one = open(path.c_str(), O_RDWR);  // has none
  pid_t child = fork_child([&] {              // shares them all
    close(memory);
    nursery.grown();
    wait_for_end();
    if (left_for_others(alone) != '-') _exit(11);
    lock(alone, F_UNLCK, 12, 1);  // one byte less, for both
    _exit(10);
  });
  nursery.expect(1);
  ready("dump --file-locks\n");
  wait_for_end();

  MUST_BE(left_for_others(alone), '-');
  MUST_BE(left_for_others(directory, O_RDONLY), 's');
  MUST_BE(left_for_others(deleted), 's');
  MUST_BE(left_for_others(memory), 'x');
  MUST_BE(type_at(free_one, 9), F_UNLCK);
  MUST_BE(type_at(free_one, 12), F_WRLCK);
  MUST_BE(type_at(free_one, 14), F_WRLCK);
  MUST_BE(type_at(free_one, 15), F_UNLCK);
  MUST_BE(type_at(free_one, 1'000'000), F_RDLCK);
  int other = reopen(memory);
  MUST_BE(type_at(other, 3), F_WRLCK);
  MUST_BE(type_at(alone, 12), F_UNLCK);  // its own
  expect_end(child, 10);
  MUST_BE(type_at(free_one, 12), F_UNLCK);
  close(alone);
  MUST_BE(left_for_others(copy), '-');
  MUST_BE(flock(copy, LOCK_UN), 0);
  MUST_BE(left_for_others(copy), 'x');
  close(copy);
  MUST_BE(type_at(free_one, 14), F_UNLCK);
  expect_childless();
  return passed();
}
