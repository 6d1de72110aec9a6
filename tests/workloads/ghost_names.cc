// Deleted files: opened by two names, with holes, in a folder that is gone too, as a FIFO.
#include "contract.h"

static std::string link_of(int fd) {
  char text[4096];
  ssize_t n = readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), text, sizeof text);
  MUST(n > 0);
  return std::string(text, n);
}

static int make(const std::string& path, const char* text) {
  int fd = open(path.c_str(), O_CREAT | O_RDWR | O_EXCL, 0604);
  MUST(fd >= 0);
  MUST_BE(write(fd, text, strlen(text)), strlen(text));
  return fd;
}

static void expect(int fd, const char* text) {
  char buffer[64] = {};
  MUST(pread(fd, buffer, sizeof buffer - 1, 0) >= 0);
  if (strcmp(buffer, text) != 0) workload::fail("fd %d has \"%s\", not \"%s\"", fd, buffer, text);
}

static constexpr off_t kFar = off_t{3} << 30;
static constexpr const char* kOdd = "line\nfeed\\012 \x1b[0m";

struct Files {
  int first, second, inside, holes, newline, marked;
};

static Files make_files(const std::string& base) {
  Files f{};
  f.first = make(base + "first", "two names");
  MUST(link((base + "first").c_str(), (base + "second").c_str()) == 0);
  f.second = open((base + "second").c_str(), O_RDWR | O_APPEND);
  MUST(f.second >= 0);
  MUST(unlink((base + "first").c_str()) == 0 && unlink((base + "second").c_str()) == 0);

  MUST(mkdir((base + "folder").c_str(), 0777) == 0 && mkdir((base + "folder/inner").c_str(), 0777) == 0);
  f.inside = make(base + "folder/inner/file", "in a gone folder");
  MUST(unlink((base + "folder/inner/file").c_str()) == 0);
  MUST(rmdir((base + "folder/inner").c_str()) == 0 && rmdir((base + "folder").c_str()) == 0);

  f.holes = make(base + "holes", "");
  MUST_BE(pwrite(f.holes, "middle", 6, 1 << 20), 6);
  MUST_BE(pwrite(f.holes, "far", 3, kFar), 3);
  MUST(ftruncate(f.holes, kFar + (1 << 20)) == 0);
  MUST(unlink((base + "holes").c_str()) == 0);

  f.marked = make(base + "odd (deleted)", "named like that");  // it has its name
  f.newline = make(base + kOdd, "odd name");
  MUST(unlink((base + kOdd).c_str()) == 0);
  return f;
}

static void expect_same(const struct stat& before, const struct stat& now, int index) {
  MUST_BE(now.st_nlink, 0);
  MUST_BE(now.st_mode, before.st_mode);
  MUST_BE(now.st_size, before.st_size);
  MUST_BE(now.st_mtim.tv_sec, before.st_mtim.tv_sec);
  MUST_BE(now.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  if (now.st_blocks > before.st_blocks + 16)
    workload::fail("file %d takes %ld blocks, not %ld", index, (long)now.st_blocks, (long)before.st_blocks);
}

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const std::string base = workload::prefix + ".";
  const Files f = make_files(base);
  struct stat before[5], now;
  int all[5] = {f.first, f.second, f.inside, f.holes, f.newline};
  for (int i = 0; i < 5; ++i) MUST(fstat(all[i], &before[i]) == 0);
  MUST_BE(before[0].st_ino, before[1].st_ino);
  workload::ready();
  workload::wait_for_end();
  for (int i = 0; i < 5; ++i) {
    MUST(fstat(all[i], &now) == 0);
    expect_same(before[i], now, i);
  }
  MUST(link_of(f.first) == base + "first (deleted)");
  MUST(link_of(f.second) == base + "second (deleted)");
  MUST(link_of(f.inside) == base + "folder/inner/file (deleted)");
  MUST(link_of(f.newline) == base + kOdd + " (deleted)");
  MUST(link_of(f.marked) == base + "odd (deleted)");
  expect(f.first, "two names");
  MUST_BE(write(f.second, ", one file", 10), 10);
  expect(f.first, "two names, one file");
  expect(f.inside, "in a gone folder");
  expect(f.marked, "named like that");
  expect(f.newline, "odd name");
  char text[8] = {};
  MUST_BE(pread(f.holes, text, 6, 1 << 20), 6);
  MUST(memcmp(text, "middle", 6) == 0);
  MUST_BE(pread(f.holes, text, 3, kFar), 3);
  MUST(memcmp(text, "far", 3) == 0);
  MUST_BE(lseek(f.holes, 0, SEEK_DATA) / (1 << 20), 1);
  MUST(access((base + "folder").c_str(), F_OK) != 0);
  return workload::passed();
}
