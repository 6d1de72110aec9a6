// A chain of filters, one of them with logging: they deny what they denied, in the same order.
#include "seccomp.h"

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  if (install_filter(SYS_mkdir, SECCOMP_RET_ERRNO | EDOM) != 0) workload::skip("this kernel has no seccomp filters");
  MUST(install_filter(SYS_rmdir, SECCOMP_RET_ERRNO | EILSEQ, SECCOMP_FILTER_FLAG_LOG) == 0);
  MUST(install_filter(SYS_mkdir, SECCOMP_RET_ERRNO | ENOLINK) == 0);  // of two equal actions the newest counts
  const int filters = value_in_status("Seccomp_filters");
  for (int round = 0; round < 2; ++round) {
    MUST_BE(error_of(SYS_mkdir), ENOLINK);
    MUST_BE(error_of(SYS_rmdir), EILSEQ);
    MUST_BE(error_of(SYS_unlink), EISDIR);
    MUST_BE(value_in_status("Seccomp"), 2);
    MUST_BE(value_in_status("Seccomp_filters"), filters);
    MUST_BE(value_in_status("NoNewPrivs"), 1);
    if (round == 1) break;
    workload::ready();
    workload::wait_for_end();
  }
  return workload::passed();
}
