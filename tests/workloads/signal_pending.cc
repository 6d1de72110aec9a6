// Blocked signals that are pending keep their siginfo and their order: of the process and of each thread, standard and
// queued real-time ones.
#include <pthread.h>

#include "contract.h"

namespace {

pthread_barrier_t set_up, over;
pid_t second_tid = 0;

sigset_t blocked() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGUSR1, SIGUSR2, SIGHUP, SIGIO, SIGRTMIN, SIGRTMIN + 1, SIGRTMIN + 2, SIGRTMAX, SIGTERM})
    sigaddset(&set, signal);
  return set;
}

void queue_process(int signal, int value) {
  sigval payload{};
  payload.sival_int = value;
  MUST(sigqueue(getpid(), signal, payload) == 0);
}

void queue_thread(pid_t tid, int signal, int value) {
  siginfo_t info{};
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_int = value;
  MUST(syscall(SYS_rt_tgsigqueueinfo, getpid(), tid, signal, &info) == 0);
}

// Takes the next pending `signal` and compares.
void take(int signal, int code, int value) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  siginfo_t info{};
  timespec none{};
  long got = syscall(SYS_rt_sigtimedwait, &set, &info, &none, 8);  // the C library's rewrites SI_TKILL
  if (got != signal) workload::fail("signal %d (value %d) is not pending any more", signal, value);
  if (info.si_code != code || info.si_pid != getpid() || info.si_uid != getuid())
    workload::fail("signal %d: si_code %d, si_pid %d, si_uid %d", signal, info.si_code, info.si_pid, info.si_uid);
  if (code == SI_QUEUE) MUST_BE(info.si_value.sival_int, value);
}

void none_left() {
  sigset_t set;
  sigpending(&set);
  sigdelset(&set, SIGTERM);
  MUST(sigisemptyset(&set));
}

void* second(void*) {
  second_tid = gettid();
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&over);
  take(SIGUSR2, SI_TKILL, 0);
  for (int i = 0; i < 5; ++i) take(SIGRTMIN + 2, SI_QUEUE, 300 + i);
  none_left();
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  sigset_t set = blocked();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  pthread_barrier_init(&set_up, nullptr, 2);
  pthread_barrier_init(&over, nullptr, 2);
  pthread_t thread;
  MUST(pthread_create(&thread, nullptr, second, nullptr) == 0);
  pthread_barrier_wait(&set_up);
  MUST(kill(getpid(), SIGUSR1) == 0);
  queue_process(SIGHUP, 41);
  queue_process(SIGHUP, 42);  // a standard signal is pending once: the first stays
  for (int i = 0; i < 50; ++i) queue_process(SIGRTMIN + i % 2, 100 + i);
  queue_process(SIGRTMAX, -1);
  queue_thread(gettid(), SIGIO, 200);
  queue_thread(gettid(), SIGRTMIN, 201);
  queue_thread(gettid(), SIGRTMIN, 202);
  MUST(syscall(SYS_tgkill, getpid(), second_tid, SIGUSR2) == 0);
  for (int i = 0; i < 5; ++i) queue_thread(second_tid, SIGRTMIN + 2, 300 + i);
  workload::ready();
  workload::wait_for_end();
  take(SIGUSR1, SI_USER, 0);
  take(SIGHUP, SI_QUEUE, 41);
  take(SIGRTMIN, SI_QUEUE, 201);  // the thread's own come before the process's
  take(SIGRTMIN, SI_QUEUE, 202);
  for (int i = 0; i < 50; i += 2) take(SIGRTMIN, SI_QUEUE, 100 + i);
  for (int i = 1; i < 50; i += 2) take(SIGRTMIN + 1, SI_QUEUE, 100 + i);
  take(SIGRTMAX, SI_QUEUE, -1);
  take(SIGIO, SI_QUEUE, 200);
  none_left();
  pthread_barrier_wait(&over);
  pthread_join(thread, nullptr);
  return workload::passed();
}
