#include "core/facets/timer_calls.h"

#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/sys/process.h"

namespace mcr::facets {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

timespec from_ns(int64_t ns) {
  return {ns / kSecond, ns % kSecond};
}

// The clock that tells the time of a timer's clock; nullopt for those of CPU time, which begin again at 0.
std::optional<int> wall_clock(int clock) {
  switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_BOOTTIME:
    case CLOCK_TAI:
      return clock;
    case CLOCK_REALTIME_ALARM:
      return CLOCK_REALTIME;
    case CLOCK_BOOTTIME_ALARM:
      return CLOCK_BOOTTIME;
    default:
      return std::nullopt;
  }
}

// A negative clock is that of a process' or a thread's CPU time; the bit says which (posix-timers, CPUCLOCK_*).
bool is_thread_cpu_clock(int clock) {
  return clock < 0 && (clock & 4);
}
// Whose it is, 0: its maker's.
pid_t id_of_cpu_clock(int clock) {
  return ~(clock >> 3);
}

bool has_own_signal(const image::PosixTimer& timer) {
  return timer.notify() == SIGEV_SIGNAL || timer.notify() == SIGEV_THREAD_ID;
}

// When it expires next, from now on; negative: when it would have. A signal that is queued tells of the expiry an
// interval before the next one.
int64_t next_expiry(const image::PosixTimer& timer, const TimerSignals& all) {
  int64_t next = timer.value_ns();
  if (all.pending.contains(timer.id()))
    next -= timer.interval_ns() > 0 ? timer.interval_ns() : next;
  else if (must_take_a_signal(timer, all))
    next -= (int64_t{timer.overrun()} + 1) * timer.interval_ns();
  return wall_clock(timer.clock()) ? next - all.gone_ns : next;
}

void check(const image::PosixTimer& timer) {
  const bool notified = timer.notify() == SIGEV_SIGNAL || timer.notify() == SIGEV_NONE ||
                        timer.notify() == SIGEV_THREAD || timer.notify() == SIGEV_THREAD_ID;
  const bool signalled = timer.notify() == SIGEV_NONE || (timer.signal() >= 1 && timer.signal() <= 64);
  constexpr int64_t kLongest = INT64_MAX / 4;
  if (timer.id() < 0 || !notified || !signalled || timer.value_ns() < 0 || timer.value_ns() > kLongest ||
      timer.cpu_tid() < 0 || timer.interval_ns() < 0 || timer.interval_ns() > kLongest || timer.overrun() < 0)
    throw Error(Fault::image, fmt::format("POSIX timer {} has values that no timer can have", timer.id()));
}

void note_timers(const Facets& facets, TimerSignals& all) {
  for (const auto& facet : facets) {
    image::PosixTimers message;
    if (!facet.UnpackTo(&message)) continue;
    const auto now = static_cast<int64_t>(sys::clock_ns(CLOCK_REALTIME));
    // A clock that was set back brings no time back.
    if (all.real && message.read_unix_ns() > 0) all.gone_ns = std::max<int64_t>(now - message.read_unix_ns(), 0);
    for (const auto& timer : message.timers()) {
      check(timer);
      if (!all.timers.emplace(timer.id(), timer).second)
        throw Error(Fault::image, fmt::format("POSIX timer {} is there twice", timer.id()));
      if (has_own_signal(timer)) ++all.users[timer.signal()];
    }
  }
}

void note_pending(const Facets& facets, TimerSignals& all) {
  for (const auto& facet : facets) {
    image::PendingSignals message;
    if (!facet.UnpackTo(&message)) continue;
    for (const std::string& bytes : message.siginfo()) {
      siginfo_t info{};
      if (bytes.size() != sizeof info) continue;  // complained about where it is queued
      std::memcpy(&info, bytes.data(), sizeof info);
      if (info.si_code == SI_TIMER && all.timers.contains(info.si_timerid)) all.pending.insert(info.si_timerid);
    }
  }
}

}  // namespace

TimerSignals timer_signals_of(const Facets& process, const std::map<pid_t, const Facets*>& threads, bool real) {
  TimerSignals all;
  all.real = real;
  note_timers(process, all);
  note_pending(process, all);
  for (const auto& [tid, facets] : threads) {
    all.threads.insert(tid);
    note_pending(*facets, all);
  }
  return all;
}

pid_t maker_of(const image::PosixTimer& timer, const TimerSignals& all) {
  if (all.counted_ids) return 0;
  const pid_t target = timer.notify() == SIGEV_THREAD_ID ? timer.notify_tid() : 0;
  pid_t measured = 0;
  if (is_thread_cpu_clock(timer.clock()))
    measured = id_of_cpu_clock(timer.clock()) == 0 ? timer.cpu_tid() : id_of_cpu_clock(timer.clock());
  else
    measured = target;
  // Both must exist when it is made.
  if (measured == 0 || !all.threads.contains(measured) || (target != 0 && target != measured)) return 0;
  return measured;
}

bool is_armed_in_place(const image::PosixTimer& timer, const TimerSignals& all) {
  return all.pending.contains(timer.id()) && (timer.notify() == SIGEV_SIGNAL || maker_of(timer, all) != 0);
}

bool must_take_a_signal(const image::PosixTimer& timer, const TimerSignals& all) {
  // Which of two timers a signal came from could not be chosen.
  const auto users = all.users.find(timer.signal());
  const int same_signal = users == all.users.end() ? 0 : users->second;
  return same_signal == 1 && timer.overrun() > 0 && has_own_signal(timer) && !all.counted_ids &&
         !all.pending.contains(timer.id()) && timer.interval_ns() > 0 && timer.value_ns() > 0 &&
         timer.value_ns() <= timer.interval_ns() && wall_clock(timer.clock()) &&
         timer.overrun() < INT64_MAX / 4 / timer.interval_ns();
}

void create_timer(const image::PosixTimer& timer, const TimerSignals& all, inject::CallList& calls,
                  inject::Batch& buffers) {
  sigevent event{};
  event.sigev_notify = timer.notify();
  event.sigev_signo = timer.signal();
  event.sigev_value.sival_ptr = reinterpret_cast<void*>(timer.value());
  if (timer.notify() == SIGEV_THREAD_ID) event._sigev_un._tid = timer.notify_tid();
  // One whose thread has ended expires without anybody hearing of it.
  if (timer.notify() == SIGEV_THREAD_ID && !all.threads.contains(timer.notify_tid())) event.sigev_notify = SIGEV_NONE;
  int clock = timer.clock();
  if (timer.cpu_tid() != 0 && maker_of(timer, all) == 0) clock = (~timer.cpu_tid() << 3) | (clock & 7);
  calls.add("timer_create", SYS_timer_create,
            {static_cast<uint64_t>(static_cast<int64_t>(clock)), buffers.put_value(event).get(),
             buffers.put_value(int64_t{timer.id()}).get()});
}

void arm_timer(const image::PosixTimer& timer, const TimerSignals& all, inject::CallList& calls,
               inject::Batch& buffers) {
  const bool fires = all.pending.contains(timer.id()), takes = must_take_a_signal(timer, all);
  if (timer.value_ns() == 0 && !fires) return;
  const int64_t next = next_expiry(timer, all);
  itimerspec value{from_ns(timer.interval_ns()), from_ns(std::max<int64_t>(next, 1))};
  uint64_t flags = 0;
  const auto clock = wall_clock(timer.clock());
  if (clock && next <= 0 && timer.interval_ns() > 0) {
    // In the past: the kernel counts the expiries since then, and goes on in the old rhythm. Not before the clock
    // began.
    const int64_t first = static_cast<int64_t>(sys::clock_ns(*clock)) + next;
    value.it_value = from_ns(std::max<int64_t>(first, 1));
    flags = TIMER_ABSTIME;
  } else if (!clock && fires) {
    // CPU time stands still while nobody uses it. A moment that it has passed is seen at once (posix_cpu_timer_set).
    value.it_value = from_ns(1);
    flags = TIMER_ABSTIME;
  }
  calls.add("timer_settime", SYS_timer_settime,
            {static_cast<uint64_t>(timer.id()), flags, buffers.put_value(value).get(), 0});
  if (!fires && !takes) return;
  // A timer on the same CPU that expires later: when it has, the other one has too.
  calls.add("nanosleep", SYS_nanosleep, {buffers.put_value(timespec{0, 1000}).get(), 0}, parasite::kMayFail);
  if (!takes) return;
  const uint64_t set = uint64_t{1} << (timer.signal() - 1);
  calls.add("rt_sigtimedwait", SYS_rt_sigtimedwait,
            {buffers.put_value(set).get(), 0, buffers.put_value(timespec{1, 0}).get(), sizeof set}, parasite::kMayFail);
}

}  // namespace mcr::facets
