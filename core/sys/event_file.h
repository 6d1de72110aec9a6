// Files that only exist while they are open: counters, timers and sets of signals. Throws Error unless said otherwise.
// Any thread.
#pragma once

#include <cstdint>

#include "core/base/unique_fd.h"

namespace mcr::sys {

UniqueFd make_event_counter(uint64_t value, bool is_semaphore);  // eventfd2(2)
// Whether a counter that stands at `count` is a semaphore, for kernels that do not show it (before 6.5). Reads and
// writes it, in a child that nobody knows: it stands at `count` again, even if this process is killed meanwhile.
// Whoever polls it may be woken once. Nobody else may use it at that time.
bool probe_semaphore(int counter, uint64_t count);

struct TimerTime {
  int64_t value_ns = 0;  // until it expires next; 0: it is not armed. With TFD_TIMER_ABSTIME: when
  int64_t interval_ns = 0;
};
UniqueFd make_timer_file(int clock);  // timerfd_create(2)
// timerfd_gettime(2). One with an interval that has expired is armed again, its expiries so far are counted: what a
// reader gets stays the same.
TimerTime timer_time(int timer);
void set_timer(int timer, int flags, const TimerTime& time);  // timerfd_settime(2)
void set_timer_ticks(int timer, uint64_t ticks);  // TFD_IOC_SET_TICKS, 3.17; needs CONFIG_CHECKPOINT_RESTORE

UniqueFd make_signal_file(uint64_t mask);  // signalfd4(2)

}  // namespace mcr::sys
