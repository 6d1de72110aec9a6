// argv[1] open files, of argv[3] files in the folder argv[2], each at a position of its own. Answers with a hash of the
// inodes and positions of all of them.
#include <fcntl.h>
#include <sys/stat.h>

#include "answer.h"
#include "limits.h"

static int open_one(const char* folder, unsigned number) {
  char path[4096];
  snprintf(path, sizeof path, "%s/file-%u", folder, number);
  return open(path, O_RDWR | O_CREAT, 0600);
}

static uint64_t hash_of(const int* fds, unsigned count) {
  uint64_t hash = 1;
  for (unsigned i = 0; i < count; ++i) {
    struct stat status;
    const off_t position = lseek(fds[i], 0, SEEK_CUR);
    if (position < 0 || fstat(fds[i], &status) != 0) _exit(6);
    hash = (hash ^ (uint64_t)status.st_ino) * 0x9e3779b97f4a7c15u;
    hash = (hash ^ (uint64_t)position) * 0x9e3779b97f4a7c15u;
  }
  return hash;
}

int main(int argc, char** argv) {
  prepare();
  if (argc < 4 || raise_descriptor_limit((unsigned)atoi(argv[1]) + 64) != 0) return 5;
  const unsigned count = (unsigned)atoi(argv[1]), files = (unsigned)atoi(argv[3]);
  if (mkdir(argv[2], 0700) != 0 && access(argv[2], W_OK) != 0) return 5;
  int* fds = calloc(count, sizeof *fds);
  for (unsigned i = 0; i < count; ++i)
    if ((fds[i] = open_one(argv[2], i % files)) < 0 || lseek(fds[i], i, SEEK_SET) < 0) return 5;
  for (;;) {
    answer(hash_of(fds, count));
    wait_for_question();
  }
}
