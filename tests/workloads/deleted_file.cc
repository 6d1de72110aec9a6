// A file that was deleted while open: content, position, size, and that two descriptors still mean one file.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  std::string path = workload::prefix + ".deleted";
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0640);
  int reader = open(path.c_str(), O_RDONLY);
  MUST(fd >= 0 && reader >= 0);
  std::vector<unsigned char> content(100'000);
  workload::fill(content.data(), content.size(), 131);
  MUST_BE(write(fd, content.data(), content.size()), content.size());
  lseek(fd, 1234, SEEK_SET);
  lseek(reader, 77, SEEK_SET);
  MUST(unlink(path.c_str()) == 0);
  workload::ready();
  workload::wait_for_end();
  MUST_BE(lseek(fd, 0, SEEK_CUR), 1234);
  MUST_BE(lseek(reader, 0, SEEK_CUR), 77);
  struct stat first {
  }, second{};
  MUST(fstat(fd, &first) == 0 && fstat(reader, &second) == 0);
  MUST(first.st_ino == second.st_ino && first.st_dev == second.st_dev);
  MUST_BE(first.st_nlink, 0);
  MUST_BE(first.st_size, content.size());
  MUST_BE(first.st_mode & 0777, 0640);
  std::vector<unsigned char> now(content.size());
  MUST_BE(pread(reader, now.data(), now.size(), 0), now.size());
  MUST(now == content);
  MUST_BE(pwrite(fd, "changed", 7, 500), 7);
  char word[7];
  MUST_BE(pread(reader, word, 7, 500), 7);
  MUST(memcmp(word, "changed", 7) == 0);
  MUST(access(path.c_str(), F_OK) == -1);
  return workload::passed();
}
