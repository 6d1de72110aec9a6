// What the kernel does for a thread that ends: pthread_join is woken (clear_child_tid), a robust mutex is handed on.
#include <pthread.h>

#include "contract.h"

namespace {

pthread_mutex_t robust, plain = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t go = PTHREAD_COND_INITIALIZER;
bool may_end = false, locked = false;

void* holder(void*) {
  MUST(pthread_mutex_lock(&robust) == 0);
  pthread_mutex_lock(&plain);
  locked = true;
  pthread_cond_broadcast(&go);
  while (!may_end) pthread_cond_wait(&go, &plain);
  pthread_mutex_unlock(&plain);
  return nullptr;  // without unlocking the robust mutex
}

void* waiter(void*) {
  int result = pthread_mutex_lock(&robust);
  MUST_BE(result, EOWNERDEAD);
  MUST(pthread_mutex_consistent(&robust) == 0);
  MUST(pthread_mutex_unlock(&robust) == 0);
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&robust, &attributes);
  pthread_t first, second;
  MUST(pthread_create(&first, nullptr, holder, nullptr) == 0);
  pthread_mutex_lock(&plain);
  while (!locked) pthread_cond_wait(&go, &plain);
  pthread_mutex_unlock(&plain);
  MUST(pthread_create(&second, nullptr, waiter, nullptr) == 0);
  workload::sleep_ms(50);  // the waiter is inside its futex call
  void *head_before = nullptr, *head_after = nullptr;
  size_t length = 0;
  MUST(syscall(SYS_get_robust_list, 0, &head_before, &length) == 0);
  workload::ready();
  workload::wait_for_end();
  MUST(syscall(SYS_get_robust_list, 0, &head_after, &length) == 0);
  MUST(head_after == head_before);
  pthread_mutex_lock(&plain);
  may_end = true;
  pthread_cond_broadcast(&go);
  pthread_mutex_unlock(&plain);
  timespec limit = workload::timespec_of(workload::now_ns(CLOCK_REALTIME) + 5'000'000'000);
  MUST_BE(pthread_timedjoin_np(first, nullptr, &limit), 0);
  MUST_BE(pthread_timedjoin_np(second, nullptr, &limit), 0);
  MUST(pthread_mutex_lock(&robust) == 0);
  return workload::passed();
}
