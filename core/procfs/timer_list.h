// /proc/timer_list: the timers of sleeping threads (function hrtimer_wakeup). Pure functions; lines they do not know
// are skipped. Any thread.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace mcr::procfs {

struct WakeupTimer {
  uint64_t identity = 0;    // hashed address, the same as long as the thread sleeps
  uint64_t expires_ns = 0;  // on the clock of its base; the earlier of the two ends of its range
  uint64_t in_ns = 0;       // from `now`
  bool operator==(const WakeupTimer& other) const {
    return identity == other.identity && expires_ns == other.expires_ns;
  }
};
struct TimerList {
  uint64_t now_ns = 0;  // monotonic
  std::vector<WakeupTimer> wakeups;
};

TimerList parse_timer_list(std::string_view text);
std::vector<WakeupTimer> added_timers(const TimerList& before, const TimerList& after);

}  // namespace mcr::procfs
