// Interval timers (setitimer(2)) and POSIX timers (timer_create(2)); both keep their remaining time.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/facets/factories.h"
#include "core/facets/timer_calls.h"
#include "core/facets/value_check.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "images/proto/facets.pb.h"

namespace mcr::facets {
namespace {

constexpr uint64_t kTimerRestoreIds = 77;  // PR_TIMER_CREATE_RESTORE_IDS, 6.15: timer_create takes the id as input

int64_t unix_now() {
  return static_cast<int64_t>(sys::clock_ns(CLOCK_REALTIME));
}
int64_t gone_since(int64_t then) {
  return then > 0 ? std::max<int64_t>(unix_now() - then, 0) : 0;
}

// Unsigned: the numbers lay in the program's memory and may be anything.
int64_t in_us(const timeval& t) {
  return static_cast<int64_t>(static_cast<uint64_t>(t.tv_sec) * 1'000'000 + static_cast<uint64_t>(t.tv_usec));
}
timeval from_us(int64_t us) {
  return {us / 1'000'000, us % 1'000'000};
}
// For timers of CPU time the kernel adds a tick to what it is given (set_cpu_itimer in kernel/time/itimer.c), which a
// program that reads them sees: without this they would grow with every restore.
int64_t value_to_set(const image::IntervalTimer& timer, int64_t gone_us) {
  if (timer.value_us() == 0) return 0;
  const auto tick_us = static_cast<int64_t>(sys::clock_resolution_ns(CLOCK_REALTIME_COARSE)) / 1000;
  return std::max<int64_t>(timer.value_us() - (timer.which() == ITIMER_REAL ? gone_us : tick_us), 1);
}
int64_t in_ns(const timespec& t) {
  return static_cast<int64_t>(static_cast<uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(t.tv_nsec));
}

class IntervalTimersFacet : public ProcessFacet {
 public:
  void ask(inject::Batch& batch, const ProcessView&) override {
    buffers_ = batch.reserve(3 * sizeof(itimerval));
    for (uint64_t which = 0; which < 3; ++which)
      batch.add("getitimer", SYS_getitimer, {which, (buffers_ + which * sizeof(itimerval)).get()});
  }
  void collect(const inject::Batch& batch, const ProcessView&, google::protobuf::Any& out) override {
    image::IntervalTimers message;
    for (int which = 0; which < 3; ++which) {
      const auto value = batch.get<itimerval>(buffers_ + static_cast<uint64_t>(which) * sizeof(itimerval));
      if (in_us(value.it_value) == 0 && in_us(value.it_interval) == 0) continue;
      auto* timer = message.add_timers();
      timer->set_which(which);
      // An ITIMER_REAL that has expired stands still until its signal is taken (kernel/time/itimer.c). It is armed to
      // expire at once: its signal, already pending, is not queued twice, and the timer stands still again. Timers of
      // CPU time go on by themselves: one without a value is not armed, and keeps its interval all the same.
      const bool has_expired = which == ITIMER_REAL && in_us(value.it_value) == 0;
      timer->set_value_us(has_expired ? 1 : in_us(value.it_value));
      timer->set_interval_us(in_us(value.it_interval));
    }
    message.set_read_unix_ns(unix_now());
    out.PackFrom(message);
  }
  void check(const google::protobuf::Any& from) const override {
    image::IntervalTimers message;
    if (!from.UnpackTo(&message)) return;
    require_value(message.timers_size() <= 3, "the number of interval timers", message.timers_size());
    for (const auto& timer : message.timers()) {
      require_value(timer.which() >= 0 && timer.which() <= 2, "which", timer.which());
      require_value(timer.value_us() >= 0, "value_us", timer.value_us());
      require_value(timer.interval_us() >= 0, "interval_us", timer.interval_us());
    }
  }
  bool restore(const google::protobuf::Any& from, ProcessPlan& plan) override {
    image::IntervalTimers message;
    if (!from.UnpackTo(&message)) return false;
    const int64_t gone_us = plan.timer_signals.real ? gone_since(message.read_unix_ns()) / 1000 : 0;
    for (const auto& timer : message.timers()) {
      if (timer.which() < 0 || timer.which() > 2 || timer.value_us() < 0 || timer.interval_us() < 0)
        throw Error(Fault::image, fmt::format("interval timer {} has impossible values", timer.which()));
      const itimerval value{from_us(timer.interval_us()), from_us(value_to_set(timer, gone_us))};
      plan.last.add("setitimer", SYS_setitimer,
                    {static_cast<uint64_t>(timer.which()), plan.buffers.put_value(value).get(), 0});
    }
    return true;
  }

 private:
  RemoteAddr buffers_;
};

class PosixTimersFacet : public ProcessFacet {
 public:
  void ask(inject::Batch& batch, const ProcessView& view) override {
    timers_ = procfs::parse_timers(sys::read_text(fmt::format("/proc/{}/timers", view.pid)));
    for (const auto& timer : timers_) {
      values_.push_back(batch.reserve(sizeof(itimerspec)));
      batch.add("timer_gettime", SYS_timer_gettime, {static_cast<uint64_t>(timer.id), values_.back().get()});
      overruns_.push_back(batch.try_add("timer_getoverrun", SYS_timer_getoverrun, {static_cast<uint64_t>(timer.id)}));
    }
  }
  void collect(const inject::Batch& batch, const ProcessView&, google::protobuf::Any& out) override {
    image::PosixTimers message;
    for (size_t i = 0; i < timers_.size(); ++i) {
      const auto value = batch.get<itimerspec>(values_[i]);
      auto* timer = message.add_timers();
      timer->set_id(timers_[i].id);
      timer->set_clock(timers_[i].clock);
      timer->set_notify(timers_[i].notify);
      timer->set_signal(timers_[i].signal);
      timer->set_value(timers_[i].value);
      timer->set_notify_tid(timers_[i].target_is_thread ? trace::number_inside(HostTid(timers_[i].target)) : 0);
      timer->set_value_ns(in_ns(value.it_value));
      timer->set_interval_ns(in_ns(value.it_interval));
      timer->set_overrun(static_cast<int32_t>(std::max<int64_t>(batch.result(overruns_[i]), 0)));
    }
    message.set_read_unix_ns(unix_now());
    out.PackFrom(message);
  }
  void check(const google::protobuf::Any& from) const override {
    image::PosixTimers message;
    if (!from.UnpackTo(&message)) return;
    std::set<int> ids;
    for (const auto& timer : message.timers()) {
      require_value(timer.id() >= 0 && ids.insert(timer.id()).second, "id", timer.id());
      const bool notifies =
          timer.notify() == SIGEV_SIGNAL || timer.notify() == SIGEV_THREAD || timer.notify() == SIGEV_THREAD_ID;
      require_value(notifies || timer.notify() == SIGEV_NONE, "notify", timer.notify());
      require_value(!notifies || bounds::is_signal(timer.signal()), "signal", timer.signal());
      require_value(timer.notify_tid() >= 0 && timer.notify_tid() <= bounds::kMaxPid, "notify_tid", timer.notify_tid());
      require_value(timer.value_ns() >= 0, "value_ns", timer.value_ns());
      require_value(timer.interval_ns() >= 0, "interval_ns", timer.interval_ns());
    }
  }
  bool restore(const google::protobuf::Any& from, ProcessPlan& plan) override {
    image::PosixTimers message;
    if (!from.UnpackTo(&message)) return false;
    const TimerSignals& all = plan.timer_signals;
    if (message.timers().empty()) return true;
    if (all.counted_ids) return arm_all(plan), true;
    plan.early.add("prctl(PR_TIMER_CREATE_RESTORE_IDS)", SYS_prctl, {kTimerRestoreIds, 1, 0, 0, 0});
    for (const auto& [id, timer] : all.timers) {
      const bool is_made = maker_of(timer, all) != 0;
      if (!is_made) create_timer(timer, all, plan.late, plan.buffers);
      if (must_take_a_signal(timer, all)) {
        if (!is_made) arm_timer(timer, all, plan.late, plan.buffers);
      } else if (!is_armed_in_place(timer, all)) {
        arm_timer(timer, all, plan.last, plan.buffers);
      }
    }
    plan.late.add("prctl(PR_TIMER_CREATE_RESTORE_IDS)", SYS_prctl, {kTimerRestoreIds, 0, 0, 0, 0});
    return true;
  }

 private:
  static void arm_all(ProcessPlan& plan) {
    for (const auto& [id, timer] : plan.timer_signals.timers)
      if (!is_armed_in_place(timer, plan.timer_signals)) arm_timer(timer, plan.timer_signals, plan.last, plan.buffers);
  }

  std::vector<procfs::Timer> timers_;
  std::vector<RemoteAddr> values_;
  std::vector<size_t> overruns_;
};

}  // namespace

std::unique_ptr<ProcessFacet> make_interval_timers() {
  return std::make_unique<IntervalTimersFacet>();
}
std::unique_ptr<ProcessFacet> make_posix_timers() {
  return std::make_unique<PosixTimersFacet>();
}

}  // namespace mcr::facets
