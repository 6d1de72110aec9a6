// For workloads whose processes share what clone(2) can share. Workers obey their root, one command at a time.
#pragma once

#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "contract.h"

namespace workload {

struct Worker {
  int flags = 0;  // of clone(2)
  int to[2], from[2];
  void* stack = nullptr;
  pid_t pid = 0;
};
inline Worker workers[8];
inline volatile int shared_word = 0;
constexpr size_t kWorkerStack = 64 << 10;

struct Order {
  int what, number;
};
enum What {
  kOpen,
  kClose,
  kIsOpen,
  kEnter,
  kIsIn,
  kSetMask,
  kMask,
  kStore,
  kLoad,
  kMap,
  kHandle,
  kHandler,
  kSpawn,
  kUnshare,
  kEnd
};

inline std::string folder_of(int number) {
  return prefix + ".folder" + std::to_string(number);
}

inline int run_worker(void* which);

inline pid_t spawn_worker(int index) {
  Worker& worker = workers[index];
  return clone(run_worker, static_cast<char*>(worker.stack) + kWorkerStack, worker.flags | SIGCHLD, &worker);
}

inline void ignore_it(int) {}
inline void ignore_it_too(int) {}

// Memory of one page at a fixed place that is free at first.
inline int* page_at(int number) {
  return reinterpret_cast<int*>(0x600000000000 + 0x10000L * number);
}

inline int obey(const Order& order) {
  const int n = order.number;
  char path[4096];
  switch (order.what) {
    case kOpen: {
      const int fd = open((prefix + ".file").c_str(), O_RDWR | O_CLOEXEC);
      const int placed = fd < 0 ? -1 : dup2(fd, n);
      close(fd);
      return placed;
    }
    case kClose:
      return close(n);
    case kIsOpen:
      return fcntl(n, F_GETFD) >= 0;
    case kEnter:
      return chdir(folder_of(n).c_str());
    case kIsIn:
      return getcwd(path, sizeof path) != nullptr && folder_of(n) == path;
    case kSetMask:
      umask(static_cast<mode_t>(n));
      return 0;
    case kMask: {
      const mode_t mask = umask(0);
      umask(mask);
      return static_cast<int>(mask);
    }
    case kStore:
      shared_word = n;
      return 0;
    case kLoad:
      return shared_word;
    case kMap:
      if (mmap(page_at(n), 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) !=
          page_at(n))
        return -1;
      *page_at(n) = n;
      return 0;
    case kHandle:
      return signal(SIGUSR1, n == 1 ? ignore_it : ignore_it_too) == SIG_ERR ? -1 : 0;
    case kHandler: {
      struct sigaction action {};
      sigaction(SIGUSR1, nullptr, &action);
      return action.sa_handler == ignore_it ? 1 : action.sa_handler == ignore_it_too ? 2 : 0;
    }
    case kSpawn:
      return spawn_worker(n);
    case kUnshare:
      return unshare(n);
  }
  return -1;
}

inline int run_worker(void* which) {
  const Worker& self = *static_cast<Worker*>(which);
  const bool is_thread = self.flags & CLONE_THREAD;
  if (!is_thread) prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (Order order{}; read(self.to[0], &order, sizeof order) == sizeof order;) {
    if (order.what == kEnd) syscall(is_thread ? SYS_exit : SYS_exit_group, order.number);
    const int result = obey(order);
    if (write(self.from[1], &result, sizeof result) != sizeof result) break;
  }
  syscall(SYS_exit_group, 50);
  return 0;
}

// All pipes and stacks exist before the first worker does, so that each of them has them.
inline void prepare_workers(std::initializer_list<int> flags) {
  int index = 0;
  for (const int one : flags) {
    Worker& worker = workers[index++];
    worker.flags = one;
    if (pipe(worker.to) != 0 || pipe(worker.from) != 0) fail("pipe: %s", strerror(errno));
    worker.stack = mmap(nullptr, kWorkerStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (worker.stack == MAP_FAILED) fail("mmap: %s", strerror(errno));
  }
}

// -1: the root itself.
inline int ask(int index, What what, int number = 0) {
  const Order order{what, number};
  if (index < 0) return obey(order);
  int result = 0;
  if (write(workers[index].to[1], &order, sizeof order) != sizeof order ||
      read(workers[index].from[0], &result, sizeof result) != sizeof result)
    fail("worker %d does not answer", index);
  return result;
}

inline void start_worker(int creator, int index) {
  const pid_t pid = ask(creator, kSpawn, index);
  if (pid <= 0) fail("clone of worker %d by %d: %s", index, creator, strerror(errno));
  workers[index].pid = pid;
}

// Those whose parent is another worker end with it.
inline void end_worker(int index, bool is_own_child) {
  const Order order{kEnd, 40 + index};
  if (write(workers[index].to[1], &order, sizeof order) != sizeof order) fail("end of worker %d", index);
  int status = 0;
  if (!is_own_child) return;
  if (waitpid(workers[index].pid, &status, __WALL) != workers[index].pid || status != (40 + index) << 8)
    fail("worker %d ended with status %x: %s", index, status, strerror(errno));
}

}  // namespace workload

// The answer of one worker.
#define MUST_ANSWER(index, what, number, expected)                                                   \
  do {                                                                                               \
    const int answer_ = workload::ask(index, what, number);                                          \
    if (answer_ != (expected))                                                                       \
      workload::fail("line %d: worker %d says %d, not %d", __LINE__, index, answer_, int(expected)); \
  } while (0)
