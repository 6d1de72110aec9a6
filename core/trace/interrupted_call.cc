#include "core/trace/interrupted_call.h"

#include <sched.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/arch/cave.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/procfs/status.h"
#include "core/procfs/timer_list.h"
#include "core/sys/file.h"

namespace mcr::trace {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

bool waits_without_limit(const sys::Registers& r) {
  switch (r.orig_rax) {
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
      return static_cast<int32_t>(r.r10) == -1;
    case SYS_epoll_pwait2:
      return r.r10 == 0;
    case SYS_rt_sigtimedwait:
      return r.rdx == 0;
    case SYS_semop:
      return true;
    case SYS_semtimedop:
      return r.r10 == 0;
    case SYS_io_getevents:
    case SYS_io_pgetevents:
      return r.r8 == 0;
    default:
      return false;
  }
}

bool is_restartable(int64_t number) {
  return number == SYS_nanosleep || number == SYS_clock_nanosleep || number == SYS_poll || number == SYS_futex;
}

// FUTEX_WAIT takes a duration, FUTEX_WAIT_BITSET a moment; both go on through the restart block.
bool is_relative_futex_wait(uint64_t operation) {
  constexpr uint64_t kCommandMask = 0x7f;  // without FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME
  return (operation & kCommandMask) == 0;
}

// For a restarted call whose number is not in the code (syscall(3) takes it as an argument): what the kernel is doing
// in its name, from /proc/PID/task/TID/stack (root only) while it sleeps, or from wchan.
int64_t number_from_names(const std::string& names, const sys::Registers& r) {
  constexpr uint64_t kClocks = 12;
  if (names.find("nanosleep") != std::string::npos) return r.rdi < kClocks ? SYS_clock_nanosleep : SYS_nanosleep;
  if (names.find("poll") != std::string::npos) return SYS_poll;
  if (names.find("futex") != std::string::npos) return SYS_futex;
  return 0;
}

int64_t number_from_stack(HostPid pid, HostTid tid, const sys::Registers& r) {
  return number_from_names(sys::try_read_text(fmt::format("/proc/{}/task/{}/stack", pid, tid)).value_or(""), r);
}

// A call restarted before says restart_syscall. Its own number still stands in the program: mov $number, %eax; syscall.
int64_t number_of(const sys::Registers& r, HostPid pid) {
  if (r.orig_rax != SYS_restart_syscall) return static_cast<int64_t>(r.orig_rax);
  unsigned char code[7];
  if (!sys::try_read_memory(pid, RemoteAddr(r.rip - sizeof code), code, sizeof code)) return 0;
  if (code[0] != 0xb8 || code[5] != 0x0f || code[6] != 0x05) return 0;
  int32_t number;
  std::memcpy(&number, code + 1, sizeof number);
  return is_restartable(number) ? number : 0;
}

std::optional<uint64_t> read_timespec(HostPid pid, uint64_t address) {
  timespec t{};
  if (address == 0 || !sys::try_read_memory(pid, RemoteAddr(address), &t, sizeof t)) return std::nullopt;
  return static_cast<uint64_t>(t.tv_sec) * kSecond + static_cast<uint64_t>(t.tv_nsec);
}

// What a sleep has written for the program counts to the end of the timer's slack (hrtimer_expires_remaining in
// kernel/time/hrtimer.c). The sleep that goes on has its own slack again: without this it would grow with every
// restore.
std::optional<uint64_t> read_remainder(HostTid tid, HostPid pid, uint64_t address) {
  const auto remaining = read_timespec(pid, address);
  const auto slack = sys::try_read_text(fmt::format("/proc/{}/timerslack_ns", tid));
  if (!remaining || !slack) return remaining;
  return *remaining - std::min<uint64_t>(*remaining, std::strtoull(slack->c_str(), nullptr, 10));
}

uint64_t whole_timeout(int64_t number, const sys::Registers& r, HostPid pid) {
  switch (number) {
    case SYS_nanosleep:
      return read_timespec(pid, r.rdi).value_or(0);
    case SYS_clock_nanosleep:
      return read_timespec(pid, r.rdx).value_or(0);
    case SYS_poll:
      return static_cast<uint64_t>(static_cast<uint32_t>(r.rdx)) * 1'000'000;
    case SYS_futex:
      return read_timespec(pid, r.r10).value_or(0);
    default:
      return 0;
  }
}

// On a machine with much to do it may take a while until it is its turn.
bool sleeps_again(HostPid pid, HostTid tid) {
  constexpr int kQuickLooks = 2000;
  constexpr timespec kTurn{0, 50'000};
  const auto until = sys::Clock::now() + std::chrono::milliseconds(50);
  for (int i = 0; i < kQuickLooks || sys::Clock::now() < until; ++i) {
    const auto text = sys::try_read_text(fmt::format("/proc/{}/task/{}/stat", pid, tid));
    if (!text) return false;
    const char state = procfs::parse_stat(*text).state;
    if (state == 'S') return true;
    if (state == 't') return false;  // stopped again by a stop that was still due
    if (i < kQuickLooks)
      ::sched_yield();
    else
      ::nanosleep(&kTurn, nullptr);
  }
  return false;
}

bool is_asleep(const Tracee& thread) {
  const auto& r = thread.frame();
  return static_cast<int64_t>(r.orig_rax) >= 0 && static_cast<int64_t>(r.rax) == arch::kRestartBlock;
}

// The timers that are armed only while this thread sleeps. Others come and go in the same moment, and a thread says
// that it sleeps an instant before its timer stands in the list: so several looks, until one expiry has been there
// twice and more often than any other. The timer's address says nothing: the kernel moves its stack a little at every
// call.
std::optional<uint64_t> look_up_timer(Tracee& thread, HostPid pid, int64_t& number) {
  std::vector<std::pair<procfs::WakeupTimer, int>> seen;
  for (int look = 0; look < 12; ++look) {
    const auto before = sys::try_read_text("/proc/timer_list");
    if (!before) return std::nullopt;
    const bool sleeps =
        thread.run_into_call(sys::Clock::now() + std::chrono::seconds(10)) && sleeps_again(pid, thread.tid());
    const auto during = sleeps ? sys::try_read_text("/proc/timer_list") : std::nullopt;
    if (sleeps && number == 0) number = number_from_stack(pid, thread.tid(), thread.frame());
    thread.stop_again(sys::Clock::now() + std::chrono::seconds(10));
    thread.remember();
    if (!is_asleep(thread)) return 0;  // it has just ended by itself
    if (!during) continue;
    for (const auto& timer :
         procfs::added_timers(procfs::parse_timer_list(*before), procfs::parse_timer_list(*during))) {
      const auto known =
          std::find_if(seen.begin(), seen.end(), [&](const auto& s) { return s.first.expires_ns == timer.expires_ns; });
      if (known == seen.end())
        seen.emplace_back(timer, 1);
      else
        known->first = timer, ++known->second;
    }
    std::sort(seen.begin(), seen.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
    if (!seen.empty() && seen[0].second >= 2 && (seen.size() == 1 || seen[1].second < seen[0].second))
      return std::max<uint64_t>(seen[0].first.in_ns, 1);
  }
  return std::nullopt;
}

// Of a call that has slept once, from its beginning until it was stopped. One that was restarted has slept before.
std::optional<uint64_t> left_of_first_sleep(const Tracee& thread, HostPid pid, int64_t number, const LastRuns& runs,
                                            uint64_t stopped_ns) {
  const uint64_t whole = whole_timeout(number, thread.frame(), pid);
  if (number == 0 || thread.frame().orig_rax == SYS_restart_syscall) return std::nullopt;
  const auto since = runs.slept_since(pid, thread.tid());
  if (!since) return std::nullopt;
  const uint64_t slept = stopped_ns > *since ? stopped_ns - *since : 0;
  return slept < whole ? whole - slept : 1;
}

// A restart block all the same, but no time in it.
bool polls_without_limit(const SleepingCall& call, const Tracee& thread) {
  return call.number == SYS_poll && static_cast<int32_t>(thread.frame().rdx) < 0;
}

}  // namespace

void settle_ended_call(Tracee& thread, uint64_t deliverable_signals) {
  sys::Registers frame = thread.frame();
  if (static_cast<int64_t>(frame.orig_rax) < 0 || static_cast<int64_t>(frame.rax) != kInterrupted) return;
  if (deliverable_signals != 0 || !waits_without_limit(frame)) return;
  log::debug("trace", "thread {}: system call {} is made again", thread.tid(), frame.orig_rax);
  frame.rax = frame.orig_rax;
  frame.rip -= 2;
  frame.orig_rax = ~0ULL;
  sys::set_registers(thread.tid(), frame);
  thread.set_frame(frame);
}

std::optional<SleepingCall> examine_sleeping_call(Tracee& thread, HostPid pid, const LastRuns& runs,
                                                  uint64_t stopped_ns) {
  if (!is_asleep(thread)) return std::nullopt;
  SleepingCall call;
  call.number = number_of(thread.frame(), pid);
  if (call.number == 0) call.number = number_from_names(runs.slept_in(pid, thread.tid()), thread.frame());
  std::optional<uint64_t> remaining;
  if (call.number == SYS_nanosleep && thread.frame().rsi != 0)
    remaining = read_remainder(thread.tid(), pid, thread.frame().rsi);
  if (call.number == SYS_clock_nanosleep && thread.frame().r10 != 0)
    remaining = read_remainder(thread.tid(), pid, thread.frame().r10);
  if (call.number == SYS_futex && !is_relative_futex_wait(thread.frame().rsi)) remaining = 0;  // its moment stands
  if (!remaining && !polls_without_limit(call, thread)) {
    remaining = look_up_timer(thread, pid, call.number);
    if (!is_asleep(thread)) return std::nullopt;
  }
  if (call.number == 0)
    throw Error(Fault::refused, fmt::format("thread {}: the call that it sleeps in cannot be found out", thread.tid()),
                "dump again");
  if (polls_without_limit(call, thread)) remaining = whole_timeout(call.number, thread.frame(), pid);
  if (!remaining) remaining = left_of_first_sleep(thread, pid, call.number, runs, stopped_ns);
  call.exact = remaining.has_value();
  call.remaining_ns = remaining.value_or(whole_timeout(call.number, thread.frame(), pid));
  if (!call.exact)
    log::warning(
        "trace",
        "thread {}: the remaining time of its sleep cannot be found out, a restored one sleeps the whole {} ms",
        thread.tid(), call.remaining_ns / 1'000'000);
  return call;
}

}  // namespace mcr::trace
