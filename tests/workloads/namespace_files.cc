// Descriptors of namespaces, and a file of /proc about process 1.
#include <sys/ioctl.h>

#include <linux/nsfs.h>

#include "contract.h"

using namespace workload;

int main(int argc, char** argv) {
  begin(argc, argv);
  constexpr const char* kNames[] = {"net", "mnt", "uts", "ipc", "pid", "user"};
  int fds[6];
  for (int i = 0; i < 6; ++i) {
    fds[i] = open((std::string("/proc/self/ns/") + kNames[i]).c_str(), O_RDONLY | O_CLOEXEC);
    MUST(fds[i] >= 0);
  }
  const int path = open("/proc/self/ns/net", O_PATH), init = open("/proc/1/stat", O_RDONLY);
  MUST(path >= 0 && init >= 0);
  char text[4] = {};
  MUST_BE(read(init, text, 2), 2);
  ready();
  wait_for_end();
  for (int i = 0; i < 6; ++i) {
    struct stat now {
    }, own{};
    MUST_BE(fstat(fds[i], &now), 0);
    MUST_BE(stat((std::string("/proc/self/ns/") + kNames[i]).c_str(), &own), 0);
    MUST(now.st_ino == own.st_ino && now.st_dev == own.st_dev);
  }
  MUST_BE(ioctl(fds[0], NS_GET_NSTYPE), CLONE_NEWNET);
  MUST_BE(fcntl(path, F_GETFL) & O_PATH, O_PATH);
  MUST_BE(read(init, text, 3), 3);
  MUST(strchr(text, '(') != nullptr);  // "1 (init) S ...": it goes on after "1 "
  return passed();
}
