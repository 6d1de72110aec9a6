// Who gets SIGIO: a process, a thread, a process group, somebody who has ended. The signals come after a restore too.
#include <pthread.h>
#include <sys/wait.h>

#include "contract.h"

static volatile pid_t thread_id;
static volatile bool done;

static void* idle(void*) {
  thread_id = static_cast<pid_t>(syscall(SYS_gettid));
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  while (!done) workload::sleep_ms(10);
  return nullptr;
}

struct Watched {
  int type;
  pid_t owner;
  int signal;
  int ends[2];
};

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  sigset_t set;
  sigemptyset(&set);
  for (int i = 0; i < 4; ++i) sigaddset(&set, SIGRTMIN + i);
  MUST(sigprocmask(SIG_BLOCK, &set, nullptr) == 0);
  pthread_t thread;
  MUST(pthread_create(&thread, nullptr, idle, nullptr) == 0);
  while (!thread_id) workload::sleep_ms(1);
  pid_t child = fork();
  if (child == 0) _exit(0);
  Watched watched[] = {{F_OWNER_PID, getpid(), SIGRTMIN, {}},
                       {F_OWNER_TID, thread_id, SIGRTMIN + 1, {}},
                       {F_OWNER_PGRP, getpgrp(), SIGRTMIN + 2, {}},
                       {F_OWNER_PID, child, SIGRTMIN + 3, {}}};
  for (Watched& w : watched) {
    MUST(pipe(w.ends) == 0);
    f_owner_ex owner{static_cast<__pid_type>(w.type), w.owner};
    MUST(fcntl(w.ends[0], F_SETOWN_EX, &owner) == 0);
    MUST(fcntl(w.ends[0], F_SETSIG, w.signal) == 0);
    MUST(fcntl(w.ends[0], F_SETFL, O_ASYNC | O_NONBLOCK) == 0);
  }
  MUST(waitpid(child, nullptr, 0) == child);
  workload::ready();
  workload::wait_for_end();
  for (int i = 0; i < 4; ++i) {
    Watched& w = watched[i];
    f_owner_ex owner{};
    MUST(fcntl(w.ends[0], F_GETOWN_EX, &owner) == 0);
    MUST_BE(owner.pid, i == 3 ? 0 : w.owner);
    if (i < 3) MUST_BE(owner.type, w.type);
    MUST_BE(fcntl(w.ends[0], F_GETSIG), w.signal);
    MUST_BE(write(w.ends[1], "x", 1), 1);
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, w.signal);
    if (i == 1) {  // in the thread's own queue
      std::string status = workload::read_file("/proc/self/task/" + std::to_string(thread_id) + "/status");
      size_t at = status.find("SigPnd:");
      MUST(at != std::string::npos);
      MUST((strtoull(status.c_str() + at + 8, nullptr, 16) >> (w.signal - 1) & 1) == 1);
      continue;
    }
    timespec limit{0, 200'000'000};
    siginfo_t info{};
    int got = sigtimedwait(&one, &info, &limit);
    MUST_BE(got, i == 3 ? -1 : w.signal);
    if (i != 3) MUST_BE(info.si_fd, w.ends[0]);
  }
  done = true;
  pthread_join(thread, nullptr);
  return workload::passed();
}
