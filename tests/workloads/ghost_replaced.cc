// A deleted file whose name has been given to another one, which a restore must not touch. The descriptor's name in
// /proc is another one afterwards: the old one is taken.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const std::string path = workload::prefix + ".data";
  int fd = open(path.c_str(), O_CREAT | O_RDWR, 0600);
  MUST(fd >= 0);
  MUST_BE(write(fd, "the old one", 11), 11);
  workload::write_file(path, "the new one");  // by rename(2)
  struct stat status {
  }, now{};
  MUST(stat(path.c_str(), &status) == 0);
  workload::ready("loose fds\n");
  workload::wait_for_end();
  char text[16];
  MUST_BE(pread(fd, text, sizeof text, 0), 11);
  MUST(memcmp(text, "the old one", 11) == 0);
  MUST_BE(write(fd, "!", 1), 1);
  MUST(workload::read_file(path) == "the new one");
  MUST(stat(path.c_str(), &now) == 0);
  MUST_BE(now.st_ino, status.st_ino);
  MUST_BE(now.st_mtim.tv_nsec, status.st_mtim.tv_nsec);
  return workload::passed();
}
