// A program under seccomp that cannot be dumped: "strict", "socketpair" (killed for it), "notify", or "address".
#include <sys/ioctl.h>

#include <string>

#include "../workloads/seccomp.h"

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  workload::prefix = argv[1];
  const std::string what = argv[2];
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (what == "socketpair") install_filter(SYS_socketpair, SECCOMP_RET_KILL_THREAD);
  if (what == "munmap") install_filter(SYS_munmap, SECCOMP_RET_ERRNO | EPERM);
  if (what == "notify") install_filter(SYS_mkdir, 0x7fc00000);
  workload::ready();
  if (what == "strict") {
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0);
    for (;;) asm volatile("pause");
  }
  for (;;) pause();
}
