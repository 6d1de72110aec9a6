// A file that never had a name (O_TMPFILE).
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  std::string directory = workload::prefix.substr(0, workload::prefix.rfind('/'));
  int fd = open(directory.c_str(), O_TMPFILE | O_RDWR, 0600);
  if (fd < 0 && errno == EOPNOTSUPP) workload::skip("this file system has no O_TMPFILE");
  MUST(fd >= 0);
  MUST_BE(write(fd, "0123456789", 10), 10);
  lseek(fd, 4, SEEK_SET);
  workload::ready();
  workload::wait_for_end();
  char buffer[16];
  MUST_BE(read(fd, buffer, sizeof buffer), 6);
  MUST(memcmp(buffer, "456789", 6) == 0);
  MUST_BE(write(fd, "more", 4), 4);
  struct stat status {};
  MUST(fstat(fd, &status) == 0);
  MUST_BE(status.st_size, 14);
  MUST_BE(status.st_nlink, 0);
  return workload::passed();
}
