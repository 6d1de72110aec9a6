// A program that runs from a memfd (fexecve(3)), as container runtimes do to protect their binary: sealed, without a
// descriptor.
#include <sys/mman.h>
#include <sys/sendfile.h>

#include "contract.h"

namespace {

void run_from_memfd(char** argv) {
  int own = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), fd = memfd_create("program", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  MUST(own >= 0 && fd >= 0);
  while (sendfile(fd, own, nullptr, 1 << 20) > 0) continue;
  MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
  char* arguments[] = {argv[0], argv[1], const_cast<char*>("again"), nullptr};
  fexecve(fd, arguments, environ);
  workload::fail("fexecve: %s", strerror(errno));
}

std::string executable() {
  char target[256];
  ssize_t n = readlink("/proc/self/exe", target, sizeof target);
  return n < 0 ? "?" : std::string(target, static_cast<size_t>(n));
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  if (argc < 3) run_from_memfd(argv);
  MUST(executable() == "/memfd:program (deleted)");
  workload::ready();
  workload::wait_for_end();
  MUST(executable() == "/memfd:program (deleted)");
  int fd = open("/proc/self/exe", O_RDONLY);
  MUST(fd >= 0);
  MUST_BE(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
  return workload::passed();
}
