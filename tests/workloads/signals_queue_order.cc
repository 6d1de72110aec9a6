// Many pending signals of every origin: in their order, every byte of their siginfo, also those that are ignored but
// blocked, and those that a full queue has kept without siginfo.
#include <sys/resource.h>
#include <sys/wait.h>

#include "contract.h"

namespace {

constexpr int kMany = 3000, kFirst = 40;
constexpr size_t kBytes = 48;  // of siginfo that the kernel keeps

struct Origin {
  int signal, code;
};
// A signal from the kernel itself, of a child, of asynchronous input, of a message queue, of a port, of tgkill.
constexpr Origin kOrigins[] = {{SIGUSR1, SI_KERNEL},  {SIGCHLD, CLD_EXITED}, {SIGIO, POLL_IN},   {SIGUSR2, SI_ASYNCIO},
                               {SIGPROF, SI_MESGQ},   {SIGSEGV, SI_USER},    {SIGHUP, SI_TKILL}, {SIGTSTP, SI_QUEUE},
                               {SIGTRAP, TRAP_BRKPT}, {50, SI_SIGIO},        {51, SI_TIMER}};

siginfo_t made(const Origin& origin) {
  siginfo_t info{};
  workload::fill(&info, kBytes, static_cast<uint64_t>(origin.signal));
  info.si_signo = origin.signal;
  info.si_errno = 3;
  info.si_code = origin.code;
  reinterpret_cast<int*>(&info)[3] = 0;  // padding
  if (origin.code == SI_TIMER) {
    info.si_timerid = 7'000'000;  // of no timer
    reinterpret_cast<uint64_t*>(&info)[4] = 0;
  }
  return info;
}

siginfo_t take(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  siginfo_t info{};
  timespec none{};
  long got = syscall(SYS_rt_sigtimedwait, &set, &info, &none, 8);
  if (got != signal) workload::fail("signal %d is not pending any more", signal);
  return info;
}

}  // namespace

int main(int argc, char** argv) {
  workload::begin(argc, argv);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  MUST(sigaction(SIGPROF, &ignore, nullptr) == 0);  // blocked, so that it is kept
  siginfo_t before[std::size(kOrigins)];
  for (size_t i = 0; i < std::size(kOrigins); ++i) {
    siginfo_t info = made(kOrigins[i]);
    MUST(syscall(SYS_rt_sigqueueinfo, getpid(), info.si_signo, &info) == 0);
    before[i] = take(info.si_signo);  // as the kernel gives it, with what it clears
    MUST(syscall(SYS_rt_sigqueueinfo, getpid(), info.si_signo, &info) == 0);
  }
  for (int i = 0; i < kMany; ++i) {
    sigval value{};
    value.sival_int = i;
    MUST(sigqueue(getpid(), kFirst + i % 3, value) == 0);
  }
  rlimit limit{}, none{};
  MUST(getrlimit(RLIMIT_SIGPENDING, &limit) == 0);
  none.rlim_max = limit.rlim_max;
  MUST(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
  MUST(syscall(SYS_tgkill, getpid(), gettid(), SIGWINCH) == 0);  // without siginfo: there is no room
  MUST(setrlimit(RLIMIT_SIGPENDING, &limit) == 0);
  workload::ready();
  workload::wait_for_end();
  for (size_t i = 0; i < std::size(kOrigins); ++i) {
    siginfo_t now = take(kOrigins[i].signal);
    if (memcmp(&now, &before[i], sizeof now) != 0)
      workload::fail("signal %d, code %d: its siginfo has changed", kOrigins[i].signal, kOrigins[i].code);
  }
  for (int i = 0; i < kMany; ++i)
    if (i % 3 == 0)
      for (int k = 0; k < 3 && i + k < kMany; ++k) MUST_BE(take(kFirst + k).si_value.sival_int, i + k);
  siginfo_t bare = take(SIGWINCH);
  MUST_BE(bare.si_code, SI_USER);
  MUST_BE(bare.si_pid, 0);
  sigset_t pending;
  sigpending(&pending);
  sigdelset(&pending, SIGTERM);
  MUST(sigisemptyset(&pending));
  return workload::passed();
}
