// The working directory was deleted; a descriptor leads to it too.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  std::string folder = workload::prefix + ".folder";
  MUST(mkdir(folder.c_str(), 0751) == 0 && chdir(folder.c_str()) == 0);
  int fd = open(".", O_RDONLY | O_DIRECTORY);
  MUST(fd >= 0);
  MUST(rmdir(folder.c_str()) == 0);
  workload::ready();
  workload::wait_for_end();
  char text[4096];
  MUST(getcwd(text, sizeof text) == nullptr && errno == ENOENT);
  struct stat here {
  }, opened{};
  MUST(stat(".", &here) == 0 && fstat(fd, &opened) == 0);
  MUST_BE(here.st_ino, opened.st_ino);
  MUST_BE(here.st_nlink, 0);
  MUST_BE(here.st_mode & 07777, 0751);
  MUST(open("file", O_CREAT | O_RDWR, 0600) == -1 && errno == ENOENT);
  ssize_t n = readlink("/proc/self/cwd", text, sizeof text);
  MUST(n > 0 && std::string(text, n) == folder + " (deleted)");
  MUST(access(folder.c_str(), F_OK) != 0);
  MUST(chdir("..") == 0 && getcwd(text, sizeof text));
  MUST(workload::prefix.starts_with(std::string(text) + "/"));
  return workload::passed();
}
