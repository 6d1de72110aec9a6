#include "core/sys/seize_watch.h"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace mcr::sys {
namespace {

constexpr timespec kPatience{0, 20'000'000};  // most freezes are over before

sigset_t alarm_only() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGALRM);
  return set;
}

// A tracer is told of stops whether it asks for them or not (kernel/exit.c, wait_task_stopped): those must stay.
void collect_end(id_t tid) {
  siginfo_t news{};
  if (::waitid(P_PID, tid, &news, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0 || news.si_pid == 0) return;
  if (news.si_code == CLD_EXITED || news.si_code == CLD_KILLED || news.si_code == CLD_DUMPED)
    ::waitid(P_PID, tid, &news, WEXITED | WNOHANG | __WALL);
}

}  // namespace

SeizeWatch::SeizeWatch() {
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGALRM;
  event.sigev_value.sival_ptr = this;
  event._sigev_un._tid = static_cast<pid_t>(::syscall(SYS_gettid));
  has_timer_ = ::timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;  // RLIMIT_SIGPENDING
  if (!has_timer_) return;
  struct sigaction action {};
  action.sa_sigaction = &SeizeWatch::collect_ended;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  const sigset_t alarm = alarm_only();
  ::sigaction(SIGALRM, &action, &old_action_);
  ::pthread_sigmask(SIG_UNBLOCK, &alarm, &old_mask_);
  const itimerspec ticks{kPatience, kPatience};
  ::timer_settime(timer_, 0, &ticks, nullptr);
}

// A signal that the timer has sent comes at the end of this call at the latest.
SeizeWatch::~SeizeWatch() {
  if (!has_timer_) return;
  ::timer_delete(timer_);
  ::pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
  ::sigaction(SIGALRM, &old_action_, nullptr);
}

SeizeWatch::Scope::Scope(SeizeWatch& watch, std::span<const HostTid> traced) : watch_(watch) {
  watch_.traced_ = traced;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  watch_.is_late_.store(false, std::memory_order_relaxed);
  watch_.seizing_.store(true, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

SeizeWatch::Scope::~Scope() {
  std::atomic_signal_fence(std::memory_order_seq_cst);
  watch_.seizing_.store(false, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

void SeizeWatch::collect_ended(int, siginfo_t* info, void*) {
  if (info->si_code != SI_TIMER) return;
  auto* watch = static_cast<SeizeWatch*>(info->si_value.sival_ptr);
  if (!watch->seizing_.load(std::memory_order_relaxed)) return;
  if (!watch->is_late_.exchange(true, std::memory_order_relaxed))
    return;  // this request has just begun, for all we know
  const int before = errno;
  for (const HostTid tid : watch->traced_) collect_end(static_cast<id_t>(tid.get()));
  errno = before;
}

bool any_event_waits() {
  siginfo_t info{};
  const int result = ::waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL);
  return result == 0 && info.si_pid != 0;  // ECHILD: there is nobody
}

}  // namespace mcr::sys
