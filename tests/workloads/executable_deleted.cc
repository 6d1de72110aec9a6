// A program whose executable was removed while it runs, as at an update: its code is in the image.
#include <sys/sendfile.h>

#include "contract.h"

namespace {

void run_from_copy(char** argv, const std::string& path) {
  int own = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  int copy = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
  MUST(own >= 0 && copy >= 0);
  while (sendfile(copy, own, nullptr, 1 << 20) > 0) continue;
  close(copy);
  char* arguments[] = {argv[0], argv[1], const_cast<char*>("again"), nullptr};
  execv(path.c_str(), arguments);
  workload::fail("execv: %s", strerror(errno));
}

// In its own page, which nobody has touched: it comes from the file, after a restore too.
alignas(4096) const unsigned char kFar[3 * 4096] = {1, 2, 3};

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  const std::string path = workload::prefix + ".program";
  if (argc < 3) run_from_copy(argv, path);
  MUST(unlink(path.c_str()) == 0);
  workload::ready();
  workload::wait_for_end();
  char target[512];
  ssize_t n = readlink("/proc/self/exe", target, sizeof target);
  MUST(n > 0 && std::string(target, static_cast<size_t>(n)) == path + " (deleted)");
  const volatile unsigned char* far = kFar;
  MUST(far[0] == 1 && far[2] == 3 && far[2 * 4096] == 0);
  return workload::passed();
}
