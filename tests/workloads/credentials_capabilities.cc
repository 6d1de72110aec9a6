// An ordinary user with chosen capabilities: permitted, effective, inheritable and ambient ones, a smaller bounding
// set, secure bits.
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>

#include "contract.h"

namespace {

struct Sets {
  __user_cap_data_struct data[2];
};

Sets sets() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  Sets now{};
  MUST(syscall(SYS_capget, &header, now.data) == 0);
  return now;
}

constexpr uint32_t bit(int capability) {
  return 1u << capability;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  if (geteuid() != 0) workload::skip("changing user needs root");
  MUST(prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT, 0, 0, 0) == 0);
  MUST(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP, 0, 0, 0) == 0);
  MUST(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  Sets wanted{};
  wanted.data[0].permitted = bit(CAP_NET_BIND_SERVICE) | bit(CAP_CHOWN) | bit(CAP_KILL);
  wanted.data[0].effective = bit(CAP_CHOWN);
  wanted.data[0].inheritable = bit(CAP_KILL);
  MUST(syscall(SYS_capset, &header, wanted.data) == 0);
  MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0) == 0);
  int bits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
  workload::ready();
  workload::wait_for_end();
  Sets now = sets();
  MUST(memcmp(&now, &wanted, sizeof now) == 0);
  MUST_BE(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0), 1);
  MUST_BE(prctl(PR_CAPBSET_READ, CAP_SYS_BOOT, 0, 0, 0), 0);
  MUST_BE(prctl(PR_CAPBSET_READ, CAP_SYS_TIME, 0, 0, 0), 1);
  MUST_BE(prctl(PR_GET_SECUREBITS, 0, 0, 0, 0), bits);
  MUST_BE(getuid(), 1000);
  return workload::passed();
}
