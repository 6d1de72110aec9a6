// Timers of timerfd_create(2). They are made with all other files, and armed when the whole tree is complete.
#include <linux/capability.h>
#include <sys/timerfd.h>
#include <time.h>

#include <algorithm>

#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/procfs/event_files.h"
#include "core/sys/event_file.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

constexpr int64_t kLongest = INT64_MAX / 4;

bool is_alarm(int clock) {
  return clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM;
}
bool is_of_wall_clock(int clock) {
  return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM;
}
int64_t now_of(int clock) {
  const int base = clock == CLOCK_REALTIME_ALARM   ? CLOCK_REALTIME
                   : clock == CLOCK_BOOTTIME_ALARM ? CLOCK_BOOTTIME
                                                   : clock;
  return static_cast<int64_t>(sys::clock_ns(base));
}

struct Arming {
  int flags = 0;
  sys::TimerTime time;
  uint64_t ticks = 0;
};

// `now`: of its clock. `gone_ns`: time that passes for a duration.
Arming arming_of(const image::TimerFile& timer, int64_t now, int64_t gone_ns) {
  Arming arming{static_cast<int>(timer.settime_flags()), {0, timer.interval_ns()}, timer.ticks()};
  if (timer.remaining_ns() == 0) return arming;
  const bool is_moment = (timer.settime_flags() & TFD_TIMER_ABSTIME) != 0;
  // A moment stays that moment. The clocks since boot begin again with another boot: then the duration is what is left
  // to go by.
  const bool has_same_clock = is_of_wall_clock(timer.clock()) || now >= timer.clock_ns();
  int64_t left = timer.remaining_ns() - gone_ns;
  if (is_moment) left = has_same_clock ? timer.clock_ns() + timer.remaining_ns() - now : timer.remaining_ns();
  if (left <= 0 && timer.interval_ns() > 0) {
    const int64_t missed = -left / timer.interval_ns() + 1;
    arming.ticks += static_cast<uint64_t>(missed);
    left += missed * timer.interval_ns();
  }
  arming.time.value_ns = std::max<int64_t>(is_moment ? now + left : left, 1);
  return arming;
}

// All of it at one instant. One that has expired and has an interval stands still until it is asked for the time.
procfs::TimerFileInfo read_timer(const FileView& file) {
  procfs::TimerFileInfo timer = procfs::timer_file_of(file.info);
  constexpr int kTries = 100;  // one with a tiny interval expires again at once
  for (int i = 0; i < kTries; ++i) {
    sys::timer_time(file.copy);
    timer = procfs::timer_file_of(
        procfs::parse_fdinfo(sys::read_text(fmt::format("/proc/{}/fdinfo/{}", file.pid, file.fd))));
    if (timer.value_ns > 0 || timer.interval_ns == 0 || timer.ticks == 0) return timer;
  }
  timer.value_ns = timer.interval_ns;
  return timer;
}

class TimerFileKind : public Kind {
 public:
  const char* name() const override { return "timer_file"; }
  bool claims(const FileView& file) const override { return file.link == "anon_inode:[timerfd]"; }

  void look(const FileView& file, const OpenFiles&) const override {
    const auto timer = procfs::timer_file_of(file.info);
    if ((timer.settime_flags & TFD_TIMER_CANCEL_ON_SET) && timer.ticks > 0 && timer.value_ns > 0 &&
        timer.interval_ns == 0)
      throw Error(Fault::refused, "the clock was set, and the program has not read that yet (TFD_TIMER_CANCEL_ON_SET)",
                  "let the program read the timer before the dump");
  }

  void dump(const FileView& file, OpenFiles&, image::FileObject& object) const override {
    const auto timer = read_timer(file);
    image::TimerFile message;
    message.set_clock(timer.clock);
    message.set_settime_flags(timer.settime_flags);
    message.set_remaining_ns(timer.value_ns);
    message.set_interval_ns(timer.interval_ns);
    message.set_ticks(timer.ticks);
    message.set_clock_ns(now_of(timer.clock));
    message.set_read_unix_ns(now_of(CLOCK_REALTIME));
    object.mutable_body()->PackFrom(message);
  }

  void require_valid(const image::FileObject& object) const override {
    const auto timer = body_of<image::TimerFile>(object);
    const auto require = [](bool holds, const char* field, auto value) {
      if (!holds) throw Error(Fault::image, fmt::format("{} cannot be {}", field, value));
    };
    require(timer.clock() == CLOCK_REALTIME || timer.clock() == CLOCK_MONOTONIC || timer.clock() == CLOCK_BOOTTIME ||
                is_alarm(timer.clock()),
            "clock", timer.clock());
    require((timer.settime_flags() & ~uint32_t{TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET}) == 0, "settime_flags",
            timer.settime_flags());
    require(timer.remaining_ns() >= 0 && timer.remaining_ns() <= kLongest, "remaining_ns", timer.remaining_ns());
    require(timer.interval_ns() >= 0 && timer.interval_ns() <= kLongest, "interval_ns", timer.interval_ns());
    require(timer.ticks() <= INT64_MAX, "ticks", timer.ticks());
    require(timer.clock_ns() >= 0 && timer.clock_ns() <= kLongest, "clock_ns", timer.clock_ns());
    require(timer.read_unix_ns() >= 0 && timer.read_unix_ns() <= kLongest, "read_unix_ns", timer.read_unix_ns());
  }

  void check(const image::FileObject& object, const OpenedFiles&, std::vector<Problem>& problems) const override {
    if (is_alarm(body_of<image::TimerFile>(object).clock()) && !sys::has_capability(CAP_WAKE_ALARM))
      problems.push_back({fmt::format("object {}", object.id()),
                          "is a timer that wakes the machine up, which needs CAP_WAKE_ALARM", "run restore as root"});
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles&) const override {
    UniqueFd fd = sys::make_timer_file(body_of<image::TimerFile>(object).clock());
    sys::set_status_flags(fd.get(), static_cast<int>(object.flags()));
    return fd;
  }

  void start(const image::FileObject& object, int fd, OpenedFiles& table) const override {
    const auto timer = body_of<image::TimerFile>(object);
    // A clock that was set back brings no time back.
    const int64_t gone =
        table.policy().real_timers ? std::max<int64_t>(now_of(CLOCK_REALTIME) - timer.read_unix_ns(), 0) : 0;
    const Arming arming = arming_of(timer, now_of(timer.clock()), gone);
    sys::set_timer(fd, arming.flags, arming.time);
    if (arming.ticks > 0) sys::set_timer_ticks(fd, arming.ticks);
  }
};

}  // namespace

const Kind* timer_file_kind() {
  static const TimerFileKind kind;
  return &kind;
}

}  // namespace mcr::kinds
