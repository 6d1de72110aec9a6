// FIFOs with one end only, deleted ones, renamed ones.
#include "contract.h"

static void expect(int fd, const char* text) {
  char buffer[64] = {};
  MUST_BE(read(fd, buffer, sizeof buffer), strlen(text));
  MUST(memcmp(buffer, text, strlen(text)) == 0);
}

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  const std::string base = workload::prefix + ".fifo.";
  auto make = [&](const char* name) {
    MUST(mkfifo((base + name).c_str(), 0640) == 0);
    int fd = open((base + name).c_str(), O_RDWR | O_NONBLOCK);
    MUST(fd >= 0);
    return fd;
  };
  auto add = [&](const char* name, int flags) {
    int fd = open((base + name).c_str(), flags | O_NONBLOCK);
    MUST(fd >= 0);
    return fd;
  };
  int alone = make("alone"), reader = add("alone", O_RDONLY);
  MUST_BE(write(alone, "left over", 9), 9);
  close(alone);
  int helper = make("widow"), writer = add("widow", O_WRONLY);
  MUST_BE(write(writer, "nobody reads", 12), 12);
  close(helper);
  int gone = make("gone"), gone_reader = add("gone", O_RDONLY);
  MUST_BE(write(gone, "deleted", 7), 7);
  MUST(unlink((base + "gone").c_str()) == 0);
  int moved = make("moved");
  MUST(rename((base + "moved").c_str(), (base + "new name").c_str()) == 0);
  MUST_BE(write(moved, "renamed", 7), 7);
  struct stat before {
  }, now{};
  MUST(fstat(gone, &before) == 0);
  workload::ready();
  workload::wait_for_end();
  expect(reader, "left over");
  char byte;
  MUST_BE(read(reader, &byte, 1), 0);
  MUST_BE(write(writer, "x", 1), -1);
  MUST_BE(errno, EPIPE);
  int late = open((base + "widow").c_str(), O_RDONLY | O_NONBLOCK);
  expect(late, "nobody reads");
  expect(gone_reader, "deleted");
  MUST_BE(write(gone, "again", 5), 5);
  expect(gone_reader, "again");
  MUST(fstat(gone, &now) == 0);
  MUST_BE(now.st_nlink, 0);
  MUST_BE(now.st_mode, before.st_mode);
  MUST(fstat(gone_reader, &before) == 0);
  MUST_BE(now.st_ino, before.st_ino);
  expect(moved, "renamed");
  MUST(access((base + "new name").c_str(), F_OK) == 0);
  return workload::passed();
}
