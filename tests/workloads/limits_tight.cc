// Limits below what the program has: descriptors beyond RLIMIT_NOFILE, locked memory, a stack and a heap that may not
// grow, files that may not be written, more signals pending than RLIMIT_SIGPENDING.
#include <sys/mman.h>
#include <sys/resource.h>

#include "contract.h"

namespace {

constexpr int kSignal = 40, kPending = 20;

void limit(__rlimit_resource resource, rlim_t soft, rlim_t hard) {
  rlimit value{soft, hard};
  MUST(setrlimit(resource, &value) == 0);
}

void on_stack(int depth) {
  volatile char page[4096];
  page[0] = static_cast<char>(depth);
  if (depth > 0) on_stack(depth - 1);
  MUST_BE(page[0], static_cast<char>(depth));
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, kSignal);
  sigaddset(&set, SIGXFSZ);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  on_stack(64);
  int high = open("/dev/null", O_RDONLY);
  for (int number = 50; number < 60; ++number) MUST(dup2(high, number) == number);
  close(high);
  void* locked = mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  MUST(mlock(locked, 1 << 20) == 0);
  for (int i = 0; i < kPending; ++i) {
    sigval value{};
    value.sival_int = i;
    MUST(sigqueue(getpid(), kSignal, value) == 0);
  }
  rlimit before[RLIM_NLIMITS], after{};
  limit(RLIMIT_NOFILE, 8, 9);
  limit(RLIMIT_STACK, 64 << 10, 64 << 10);
  limit(RLIMIT_MEMLOCK, 0, 0);
  limit(RLIMIT_SIGPENDING, 1, 1);
  limit(RLIMIT_NPROC, 1, 1);
  limit(RLIMIT_CPU, 50, 60);
  limit(RLIMIT_CORE, 0, 0);
  limit(RLIMIT_FSIZE, 100, 4096);
  for (int i = 0; i < static_cast<int>(RLIM_NLIMITS); ++i)
    MUST(getrlimit(static_cast<__rlimit_resource>(i), &before[i]) == 0);
  workload::ready();
  workload::wait_for_end();
  for (int i = 0; i < static_cast<int>(RLIM_NLIMITS); ++i) {
    MUST(getrlimit(static_cast<__rlimit_resource>(i), &after) == 0);
    MUST_BE(after.rlim_cur, before[i].rlim_cur);
    MUST_BE(after.rlim_max, before[i].rlim_max);
  }
  for (int number = 50; number < 60; ++number) MUST(fcntl(number, F_GETFD) >= 0);
  sigdelset(&set, SIGXFSZ);
  for (int i = 0; i < kPending; ++i) {
    siginfo_t info{};
    timespec none{};
    MUST_BE(sigtimedwait(&set, &info, &none), kSignal);
    MUST_BE(info.si_value.sival_int, i);
  }
  return workload::passed();
}
