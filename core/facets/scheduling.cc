// Scheduling policy, nice value, affinity, I/O priority and timer slack: all readable and settable from outside.
#include <algorithm>

#include "core/facets/factories.h"
#include "core/facets/value_check.h"
#include "core/sys/file.h"
#include "images/proto/facets.pb.h"

namespace mcr::facets {
namespace {

// /proc/TID leads to any thread, though only processes are listed there.
uint64_t timer_slack_of(HostTid tid) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/timerslack_ns", tid));
  return text ? std::stoull(*text) : 0;
}

void apply(const image::Scheduling& message, HostTid tid) {
  const sys::SchedAttr now = sys::scheduling_of(tid);
  sys::SchedAttr wanted{};
  wanted.size = 48;  // without the utilisation clamps, which have flags of their own
  wanted.policy = message.policy();
  wanted.flags = message.flags() & 0x7;
  wanted.nice = message.nice();
  wanted.priority = message.priority();
  wanted.runtime = message.runtime_ns(), wanted.deadline = message.deadline_ns(), wanted.period = message.period_ns();
  const bool same = now.policy == wanted.policy && now.nice == wanted.nice && now.priority == wanted.priority &&
                    now.runtime == wanted.runtime && now.deadline == wanted.deadline && now.period == wanted.period;
  if (!same) sys::set_scheduling(tid, wanted);
  const auto mask = std::as_bytes(std::span(message.affinity()));
  if (!mask.empty() && !std::ranges::equal(sys::affinity_of(tid), mask)) sys::set_affinity(tid, mask);
  if (message.ioprio() != sys::io_priority_of(tid)) sys::set_io_priority(tid, message.ioprio());
  if (message.timer_slack_ns() != 0 && message.timer_slack_ns() != timer_slack_of(tid))
    sys::write_file(fmt::format("/proc/{}/timerslack_ns", tid), fmt::format("{}", message.timer_slack_ns()));
}

class SchedulingFacet : public ThreadFacet {
 public:
  void dump(const ThreadView& view, google::protobuf::Any& out) override {
    const HostTid tid = view.thread.tid();
    const sys::SchedAttr attr = sys::scheduling_of(tid);
    image::Scheduling message;
    message.set_policy(attr.policy);
    message.set_flags(attr.flags);
    message.set_nice(attr.nice);
    message.set_priority(attr.priority);
    message.set_runtime_ns(attr.policy == 6 ? attr.runtime : 0);  // SCHED_DEADLINE; others report their slice here
    message.set_deadline_ns(attr.deadline);
    message.set_period_ns(attr.period);
    const auto mask = sys::affinity_of(tid);
    message.set_affinity(mask.data(), mask.size());
    message.set_ioprio(sys::io_priority_of(tid));
    message.set_timer_slack_ns(view.timer_slack_ns);
    out.PackFrom(message);
  }
  void check(const google::protobuf::Any& from) const override {
    image::Scheduling m;
    if (!from.UnpackTo(&m)) return;
    require_value(m.policy() <= 7, "policy", m.policy());  // SCHED_EXT is the last as of 6.18
    require_value(m.nice() >= -20 && m.nice() <= 19, "nice", m.nice());
    require_value(m.priority() <= 99, "priority", m.priority());
    require_value(m.affinity().size() <= 1024 && m.affinity().size() % 8 == 0, "affinity's size", m.affinity().size());
    require_value(m.ioprio() >= 0 && m.ioprio() <= 0xffff, "ioprio", m.ioprio());
  }
  bool restore(const google::protobuf::Any& from, ThreadPlan& plan) override {
    image::Scheduling message;
    if (!from.UnpackTo(&message)) return false;
    plan.outside.emplace_back([message](trace::Tracee& thread) { apply(message, thread.tid()); });
    return true;
  }
};

}  // namespace

std::unique_ptr<ThreadFacet> make_scheduling() {
  return std::make_unique<SchedulingFacet>();
}

}  // namespace mcr::facets
