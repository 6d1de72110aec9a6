// A program that called chroot: its root, and its working directory inside.
#include "contract.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  if (geteuid() != 0) workload::skip("chroot needs root");
  size_t slash = workload::prefix.rfind('/');
  std::string directory = workload::prefix.substr(0, slash);
  MUST(chdir(directory.c_str()) == 0);
  MUST(chroot(".") == 0);
  MUST(mkdir("/inner", 0755) == 0 || errno == EEXIST);
  MUST(chdir("/inner") == 0);
  workload::prefix = workload::prefix.substr(slash);  // the same files, by their new names
  workload::ready();
  workload::wait_for_end();
  char now[4096];
  MUST(getcwd(now, sizeof now) != nullptr);
  MUST(strcmp(now, "/inner") == 0);
  MUST(access("/proc/self", F_OK) == -1);
  MUST(access((workload::prefix + ".ready").c_str(), F_OK) == 0);
  return workload::passed();
}
