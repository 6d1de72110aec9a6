// A root directory below, the working directory still outside of it, as chroot(2) leaves it.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  if (geteuid() != 0) workload::skip("chroot needs root");
  size_t slash = workload::prefix.rfind('/');
  std::string folder = workload::prefix.substr(0, slash), jail = folder + "/jail";
  MUST(mkdir(jail.c_str(), 0755) == 0);
  MUST(chdir(folder.c_str()) == 0 && chroot("jail") == 0);
  workload::prefix = workload::prefix.substr(slash + 1);  // relative, the root does not lead there
  int fd = open(workload::prefix.c_str(), O_CREAT | O_RDWR, 0600);
  MUST(fd >= 0);
  MUST_BE(write(fd, "outside", 7), 7);
  int gone = open("gone", O_CREAT | O_RDWR, 0600);
  MUST(gone >= 0);
  MUST_BE(write(gone, "deleted", 7), 7);
  MUST(unlink("gone") == 0);
  workload::ready();
  workload::wait_for_end();
  char text[4096];
  MUST(syscall(SYS_getcwd, text, sizeof text) > 0);
  MUST(strncmp(text, "(unreachable)", 13) == 0);
  MUST(access("/", F_OK) == 0 && access("/jail", F_OK) != 0 && access("jail", F_OK) == 0);
  MUST_BE(pread(fd, text, 8, 0), 7);
  MUST_BE(pread(gone, text, 8, 0), 7);
  MUST(memcmp(text, "deleted", 7) == 0);
  return workload::passed();
}
