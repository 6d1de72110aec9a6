// 500 open files.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  constexpr int kCount = 500;
  std::string directory = workload::prefix + ".many";
  MUST(mkdir(directory.c_str(), 0700) == 0 || errno == EEXIST);
  int fds[kCount];
  auto path_of = [&](int i) { return directory + "/" + std::to_string(i); };
  for (int i = 0; i < kCount; ++i) {
    fds[i] = open(path_of(i).c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
    MUST(fds[i] >= 0);
    MUST_BE(write(fds[i], &i, sizeof i), sizeof i);
    lseek(fds[i], i % 3, SEEK_SET);
  }
  workload::ready();
  workload::wait_for_end();
  for (int i = 0; i < kCount; ++i) {
    MUST_BE(lseek(fds[i], 0, SEEK_CUR), i % 3);
    int found = -1;
    MUST_BE(pread(fds[i], &found, sizeof found, 0), sizeof found);
    MUST_BE(found, i);
    unlink(path_of(i).c_str());
  }
  rmdir(directory.c_str());
  return workload::passed();
}
