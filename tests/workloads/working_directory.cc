// Working directory after chdir, umask, and relative paths that still work.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  std::string directory = workload::prefix + ".dir";
  MUST(mkdir(directory.c_str(), 0700) == 0 || errno == EEXIST);
  MUST(chdir(directory.c_str()) == 0);
  umask(027);
  workload::ready();
  workload::wait_for_end();
  char now[4096];
  MUST(getcwd(now, sizeof now) != nullptr);
  MUST(directory == now);
  int fd = open("made here", O_WRONLY | O_CREAT | O_EXCL, 0777);
  MUST(fd >= 0);
  struct stat status {};
  MUST(fstat(fd, &status) == 0);
  MUST_BE(status.st_mode & 0777, 0750);
  MUST(unlink((directory + "/made here").c_str()) == 0);
  MUST_BE(umask(0), 027);
  chdir("/");
  rmdir(directory.c_str());
  return workload::passed();
}
