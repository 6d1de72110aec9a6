// Users, groups, capabilities, secure bits and no_new_privs of single threads, set by raw system calls: each thread
// keeps its own.
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sys/prctl.h>

#include "contract.h"

namespace {

constexpr int kThreads = 6;
pthread_barrier_t set_up, over;

struct Rights {
  uint32_t ids[6], groups[8];
  long group_count, securebits, no_new_privs, keep_caps, ambient, bounded;
  __user_cap_data_struct sets[2];
};

Rights rights() {
  Rights now{};
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  MUST(syscall(SYS_getresuid, &now.ids[0], &now.ids[1], &now.ids[2]) == 0);
  MUST(syscall(SYS_getresgid, &now.ids[3], &now.ids[4], &now.ids[5]) == 0);
  now.group_count = syscall(SYS_getgroups, 8, now.groups);
  now.securebits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
  now.keep_caps = prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0);
  now.no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  now.ambient = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0);
  now.bounded = prctl(PR_CAPBSET_READ, CAP_SYS_BOOT, 0, 0, 0);
  MUST(syscall(SYS_capget, &header, now.sets) == 0);
  return now;
}

void become(int index) {
  const auto id = static_cast<uint32_t>(2000 + index);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2]{};
  const uint32_t groups[2] = {id + 1, id + 2};
  switch (index) {
    case 0:  // as it was
      break;
    case 1:  // capabilities over a change of users, on request
      MUST(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0);
      MUST(syscall(SYS_setresuid, id, id, id) == 0);
      break;
    case 2:
      MUST(syscall(SYS_setgroups, 2, groups) == 0);
      MUST(syscall(SYS_setresgid, id, id, id) == 0 && syscall(SYS_setresuid, id, id, id) == 0);
      break;
    case 3:  // ambient ones, and then no more of them
      sets[0].permitted = sets[0].inheritable = 1u << CAP_KILL | 1u << CAP_SETPCAP;
      sets[0].effective = 1u << CAP_SETPCAP;
      MUST(prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT, 0, 0, 0) == 0);
      MUST(syscall(SYS_capset, &header, sets) == 0);
      MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0) == 0);
      MUST(prctl(PR_SET_SECUREBITS, SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED, 0, 0, 0) == 0);
      break;
    case 4:
      MUST(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP, 0, 0, 0) == 0);
      MUST(syscall(SYS_setresuid, id, 0, 0) == 0);
      break;
    default:
      MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
      break;
  }
}

void* work(void* argument) {
  become(static_cast<int>(reinterpret_cast<intptr_t>(argument)));
  const Rights before = rights();
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&over);
  const Rights now = rights();
  if (memcmp(&before, &now, sizeof now) != 0)
    workload::fail("thread %ld: secure bits %lx, were %lx; keep %ld, was %ld; ambient %ld, was %ld; user %u, was %u",
                   static_cast<long>(reinterpret_cast<intptr_t>(argument)), now.securebits, before.securebits,
                   now.keep_caps, before.keep_caps, now.ambient, before.ambient, now.ids[0], before.ids[0]);
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  if (geteuid() != 0) workload::skip("changing user needs root");
  pthread_barrier_init(&set_up, nullptr, kThreads + 1);
  pthread_barrier_init(&over, nullptr, kThreads + 1);
  pthread_t threads[kThreads];
  for (intptr_t i = 0; i < kThreads; ++i)
    MUST(pthread_create(&threads[i], nullptr, work, reinterpret_cast<void*>(i)) == 0);
  pthread_barrier_wait(&set_up);
  workload::ready();
  workload::wait_for_end();
  pthread_barrier_wait(&over);
  for (auto& thread : threads) MUST(pthread_join(thread, nullptr) == 0);
  return workload::passed();
}
