// The working directory was deleted, the one above it too, and another one has its name.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  std::string outer = workload::prefix + ".outer", middle = outer + "/middle", inner = middle + "/inner";
  MUST(mkdir(outer.c_str(), 0755) == 0 && mkdir(middle.c_str(), 0711) == 0 && mkdir(inner.c_str(), 0700) == 0);
  MUST(chdir(inner.c_str()) == 0);
  int outer_fd = open(outer.c_str(), O_PATH | O_DIRECTORY);
  MUST(outer_fd >= 0);
  MUST(rmdir(inner.c_str()) == 0 && rmdir(middle.c_str()) == 0 && rmdir(outer.c_str()) == 0);
  MUST(mkdir(outer.c_str(), 0755) == 0);
  workload::write_file(outer + "/file", "of the new one");
  workload::ready("loose fds\nloose process\n");  // the name of the outer one is taken
  workload::wait_for_end();
  struct stat status {
  }, opened{};
  MUST(stat(".", &status) == 0);
  MUST_BE(status.st_nlink, 0);
  MUST_BE(status.st_mode & 07777, 0700);
  MUST(stat("..", &status) == 0);
  MUST_BE(status.st_mode & 07777, 0711);
  MUST(stat("../..", &status) == 0 && fstat(outer_fd, &opened) == 0);
  MUST_BE(status.st_ino, opened.st_ino);
  MUST_BE(status.st_nlink, 0);
  MUST(stat(outer.c_str(), &opened) == 0);
  MUST(status.st_ino != opened.st_ino);
  MUST(workload::read_file(outer + "/file") == "of the new one");
  MUST(chdir("../../..") == 0);
  char text[4096];
  MUST(getcwd(text, sizeof text));
  MUST(workload::prefix.starts_with(std::string(text) + "/"));
  return workload::passed();
}
