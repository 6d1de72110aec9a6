// Interval timers (setitimer(2)) and POSIX timers (timer_create(2)); both keep their remaining time.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

#include "core/facets/factories.h"
#include "core/sys/file.h"
#include "images/proto/facets.pb.h"

namespace mcr::facets {
namespace {

constexpr uint64_t kTimerRestoreIds = 77;  // PR_TIMER_CREATE_RESTORE_IDS, 6.15: timer_create takes the id as input

int64_t in_us(const timeval& t) {
  return t.tv_sec * 1'000'000 + t.tv_usec;
}
timeval from_us(int64_t us) {
  return {us / 1'000'000, us % 1'000'000};
}
int64_t in_ns(const timespec& t) {
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}
timespec from_ns(int64_t ns) {
  return {ns / 1'000'000'000, ns % 1'000'000'000};
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
      // An ITIMER_REAL whose signal is pending stands still until the signal is taken (kernel/time/itimer.c); then it
      // starts anew with its interval.
      timer->set_value_us(in_us(value.it_value) != 0 ? in_us(value.it_value) : in_us(value.it_interval));
      timer->set_interval_us(in_us(value.it_interval));
    }
    out.PackFrom(message);
  }
  bool restore(const google::protobuf::Any& from, ProcessPlan& plan) override {
    image::IntervalTimers message;
    if (!from.UnpackTo(&message)) return false;
    for (const auto& timer : message.timers()) {
      const itimerval value{from_us(timer.interval_us()), from_us(timer.value_us())};
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
      timer->set_notify_tid(timers_[i].target_is_thread ? timers_[i].target : 0);
      timer->set_value_ns(in_ns(value.it_value));
      timer->set_interval_ns(in_ns(value.it_interval));
      timer->set_overrun(static_cast<int32_t>(std::max<int64_t>(batch.result(overruns_[i]), 0)));
    }
    out.PackFrom(message);
  }
  bool restore(const google::protobuf::Any& from, ProcessPlan& plan) override {
    image::PosixTimers message;
    if (!from.UnpackTo(&message)) return false;
    if (message.timers().empty()) return true;
    plan.late.add("prctl(PR_TIMER_CREATE_RESTORE_IDS)", SYS_prctl, {kTimerRestoreIds, 1, 0, 0, 0});
    // The kernel lists the newest first.
    for (int i = message.timers_size(); i-- > 0;) create(message.timers(i), plan);
    plan.late.add("prctl(PR_TIMER_CREATE_RESTORE_IDS)", SYS_prctl, {kTimerRestoreIds, 0, 0, 0, 0});
    return true;
  }

 private:
  static void create(const image::PosixTimer& timer, ProcessPlan& plan) {
    sigevent event{};
    event.sigev_notify = timer.notify();
    event.sigev_signo = timer.signal();
    event.sigev_value.sival_ptr = reinterpret_cast<void*>(timer.value());
    if (timer.notify() == SIGEV_THREAD_ID) event._sigev_un._tid = timer.notify_tid();
    const RemoteAddr id = plan.buffers.put_value(int64_t{timer.id()});
    plan.late.add("timer_create", SYS_timer_create,
                  {static_cast<uint64_t>(timer.clock()), plan.buffers.put_value(event).get(), id.get()});
    const bool fires_now = plan.timer_signals.pending.contains(timer.id());
    if (timer.value_ns() == 0 && !fires_now) return;
    const itimerspec value{from_ns(timer.interval_ns()), from_ns(fires_now ? 1 : timer.value_ns())};
    plan.last.add("timer_settime", SYS_timer_settime,
                  {static_cast<uint64_t>(timer.id()), 0, plan.buffers.put_value(value).get(), 0});
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
