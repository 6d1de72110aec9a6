// Filters that all threads share: whoever adds one for all (SECCOMP_FILTER_FLAG_TSYNC) must find that they still do.
#include <pthread.h>

#include "seccomp.h"

namespace {

constexpr int kThreads = 4;
pthread_barrier_t set_up, over;

void* work(void*) {
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&over);
  MUST_BE(error_of(SYS_mkdir), EDOM);
  MUST_BE(error_of(SYS_rmdir), EILSEQ);
  MUST_BE(error_of(SYS_link), ENOLINK);
  MUST_BE(value_in_status("NoNewPrivs"), 1);
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  pthread_barrier_init(&set_up, nullptr, kThreads + 1);
  pthread_barrier_init(&over, nullptr, kThreads + 1);
  pthread_t threads[kThreads];
  for (auto& thread : threads) MUST(pthread_create(&thread, nullptr, work, nullptr) == 0);
  MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  if (install_filter(SYS_mkdir, SECCOMP_RET_ERRNO | EDOM, SECCOMP_FILTER_FLAG_TSYNC) != 0)
    workload::skip("this kernel has no synchronised seccomp filters");
  MUST(install_filter(SYS_rmdir, SECCOMP_RET_ERRNO | EILSEQ, SECCOMP_FILTER_FLAG_TSYNC) == 0);
  pthread_barrier_wait(&set_up);
  workload::ready();
  workload::wait_for_end();
  // The result is the id of a thread whose filters are not those of the caller.
  MUST_BE(install_filter(SYS_link, SECCOMP_RET_ERRNO | ENOLINK, SECCOMP_FILTER_FLAG_TSYNC), 0);
  pthread_barrier_wait(&over);
  for (auto& thread : threads) MUST(pthread_join(thread, nullptr) == 0);
  return workload::passed();
}
