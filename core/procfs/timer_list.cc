#include "core/procfs/timer_list.h"

#include <algorithm>
#include <charconv>
#include <iterator>

namespace mcr::procfs {
namespace {

uint64_t number_at(std::string_view text, int base = 10) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, base);
  return value;
}

// "now at 4407697221586 nsecs"; " #1: <000000004508e98e>, hrtimer_wakeup, S:01"; then
// " # expires at 4407736841814-4407736891814 nsecs [in 39620228 to 39670228 nsecs]".
void parse_line(std::string_view line, TimerList& list, uint64_t& pending) {
  constexpr std::string_view kNow = "now at ", kExpires = " # expires at ", kIn = "[in ";
  if (line.starts_with(kNow)) {
    list.now_ns = number_at(line.substr(kNow.size()));
  } else if (line.find(", hrtimer_wakeup,") != std::string_view::npos) {
    const size_t at = line.find('<');
    pending = at == std::string_view::npos ? 0 : number_at(line.substr(at + 1), 16);
  } else if (line.starts_with(kExpires) && pending != 0) {
    const size_t in = line.find(kIn);
    const uint64_t relative = in == std::string_view::npos ? 0 : number_at(line.substr(in + kIn.size()));
    list.wakeups.push_back({pending, number_at(line.substr(kExpires.size())), relative});
    pending = 0;
  } else {
    pending = 0;
  }
}

bool contains(const std::vector<WakeupTimer>& timers, const WakeupTimer& timer) {
  return std::find(timers.begin(), timers.end(), timer) != timers.end();
}

}  // namespace

TimerList parse_timer_list(std::string_view text) {
  TimerList list;
  uint64_t pending = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    parse_line(text.substr(0, end), list, pending);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return list;
}

std::vector<WakeupTimer> added_timers(const TimerList& before, const TimerList& after) {
  std::vector<WakeupTimer> added;
  std::copy_if(after.wakeups.begin(), after.wakeups.end(), std::back_inserter(added),
               [&](const WakeupTimer& timer) { return !contains(before.wakeups, timer); });
  return added;
}

}  // namespace mcr::procfs
