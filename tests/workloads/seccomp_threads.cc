// Each thread has filters of its own on top of a common one, one has none of them, and the leader may not make sockets
// at all: it would be killed.
#include <pthread.h>

#include "seccomp.h"

namespace {

constexpr int kThreads = 5;
pthread_barrier_t set_up, over;

void* work(void* argument) {
  const int index = static_cast<int>(reinterpret_cast<intptr_t>(argument));
  MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  for (int i = 0; i < index; ++i)
    MUST(install_filter(SYS_mkdir, SECCOMP_RET_ERRNO | static_cast<uint32_t>(100 + index)) == 0);
  const int filters = value_in_status("Seccomp_filters");
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&over);
  MUST_BE(value_in_status("Seccomp_filters"), filters);
  MUST_BE(error_of(SYS_mkdir), index == 0 ? EEXIST : 100 + index);
  MUST_BE(error_of(SYS_rmdir), EILSEQ);
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  pthread_barrier_init(&set_up, nullptr, kThreads + 1);
  pthread_barrier_init(&over, nullptr, kThreads + 1);
  MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  if (install_filter(SYS_rmdir, SECCOMP_RET_ERRNO | EILSEQ) != 0) workload::skip("this kernel has no seccomp filters");
  pthread_t threads[kThreads];
  for (intptr_t i = 0; i < kThreads; ++i)
    MUST(pthread_create(&threads[i], nullptr, work, reinterpret_cast<void*>(i)) == 0);
  MUST(install_filter(SYS_socketpair, SECCOMP_RET_KILL_THREAD) == 0);
  pthread_barrier_wait(&set_up);
  workload::ready();
  workload::wait_for_end();
  MUST_BE(value_in_status("Seccomp"), 2);
  pthread_barrier_wait(&over);
  for (auto& thread : threads) MUST(pthread_join(thread, nullptr) == 0);
  return workload::passed();
}
