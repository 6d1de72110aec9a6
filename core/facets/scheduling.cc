// Scheduling policy, nice value, affinity, I/O priority and timer slack: all but the last set from outside.
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstdlib>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/facets/factories.h"
#include "core/facets/value_check.h"
#include "core/sys/file.h"
#include "images/proto/facets.pb.h"

namespace mcr::facets {
namespace {

constexpr uint32_t kOther = 0, kBatch = 3, kDeadline = 6;  // SCHED_*
constexpr uint64_t kKept = 0x7;                            // RESET_ON_FORK, RECLAIM, DL_OVERRUN
constexpr uint64_t kUtilClamp = 0x20 | 0x40;               // SCHED_FLAG_UTIL_CLAMP_MIN, _MAX (5.3)

bool is_fair(uint32_t policy) {
  return policy == kOther || policy == kBatch;
}

// Every policy reports a slice in `runtime`. One that is not ours was chosen by the thread (since 6.12).
uint64_t chosen_slice(const sys::SchedAttr& attr) {
  if (!is_fair(attr.policy)) return 0;
  static const sys::SchedAttr ours = sys::scheduling_of(HostTid(sys::own_pid().get()));
  return is_fair(ours.policy) && attr.runtime != ours.runtime ? attr.runtime : 0;
}

bool has_all_cpus(std::span<const std::byte> mask) {
  static const std::string online = sys::try_read_text("/sys/devices/system/cpu/online").value_or("");
  for (const char* at = online.c_str(); *at >= '0' && *at <= '9';) {
    char* end = nullptr;
    const unsigned long first = std::strtoul(at, &end, 10);
    const unsigned long last = *end == '-' ? std::strtoul(end + 1, &end, 10) : first;
    for (unsigned long cpu = first; cpu <= last; ++cpu)
      if (cpu / 8 >= mask.size() || !(std::to_integer<unsigned>(mask[cpu / 8]) >> cpu % 8 & 1)) return false;
    at = *end == ',' ? end + 1 : end;
  }
  return !online.empty();
}

void apply_policy(const image::Scheduling& message, HostTid tid) {
  const Step step("scheduling policy {}", message.policy());
  const sys::SchedAttr now = sys::scheduling_of(tid);
  sys::SchedAttr wanted{};
  wanted.size = 48;  // without the utilisation clamps, which have flags of their own
  wanted.policy = message.policy();
  wanted.flags = message.flags() & kKept;
  wanted.nice = message.nice();
  wanted.priority = message.priority();
  wanted.runtime = message.runtime_ns(), wanted.deadline = message.deadline_ns(), wanted.period = message.period_ns();
  if (is_fair(wanted.policy)) wanted.runtime = message.slice_ns();
  const bool same_slice = is_fair(wanted.policy) ? wanted.runtime == chosen_slice(now) : now.runtime == wanted.runtime;
  const bool same = now.policy == wanted.policy && now.nice == wanted.nice && now.priority == wanted.priority &&
                    (now.flags & kKept) == wanted.flags && same_slice && now.deadline == wanted.deadline &&
                    now.period == wanted.period;
  const bool clamps = (message.util_min() != 0 || message.util_max() != 0) &&
                      (now.util_min != message.util_min() || now.util_max != message.util_max());
  if (same && !clamps) return;
  if (clamps) {
    wanted.size = sizeof wanted;
    wanted.flags |= kUtilClamp;
    wanted.util_min = message.util_min(), wanted.util_max = message.util_max();
  }
  sys::set_scheduling(tid, wanted);
}

// A thread that had every CPU gets every CPU. Of others the kernel leaves out those that are not there; a thread that
// would have none left runs on all, as after the removal of its last CPU (cpuset(7)).
void apply_affinity(const image::Scheduling& message, HostTid tid) {
  std::vector<std::byte> mask(message.affinity().size());
  std::memcpy(mask.data(), message.affinity().data(), mask.size());
  if (mask.empty()) return;
  if (message.all_cpus()) mask.assign(128, std::byte{0xff});
  const std::vector<std::byte> now = sys::affinity_of(tid);
  if (std::ranges::equal(now, mask) || (message.all_cpus() && has_all_cpus(now))) return;
  if (sys::try_set_affinity(tid, mask)) return;
  log::warning("facets", "thread {}: none of the CPUs that it was bound to is here, it may run on all", tid);
  sys::set_affinity(tid, std::vector<std::byte>(128, std::byte{0xff}));
}

void apply(const image::Scheduling& message, HostTid tid) {
  // A deadline thread must be able to run on all CPUs (sched(7)); its affinity comes first.
  apply_affinity(message, tid);
  apply_policy(message, tid);
  if (message.ioprio() != sys::io_priority_of(tid)) sys::set_io_priority(tid, message.ioprio());
}

class SchedulingFacet : public ThreadFacet {
 public:
  void dump(const ThreadView& view, google::protobuf::Any& out) override {
    const HostTid tid = view.thread.tid();
    const sys::SchedAttr attr = sys::scheduling_of(tid);
    image::Scheduling message;
    message.set_policy(attr.policy);
    message.set_flags(attr.flags & kKept);
    message.set_nice(attr.nice);
    message.set_priority(attr.priority);
    message.set_runtime_ns(attr.policy == kDeadline ? attr.runtime : 0);
    message.set_deadline_ns(attr.deadline);
    message.set_period_ns(attr.period);
    message.set_util_min(attr.util_min);
    message.set_util_max(attr.util_max);
    message.set_slice_ns(chosen_slice(attr));
    const auto mask = sys::affinity_of(tid);
    message.set_affinity(mask.data(), mask.size());
    message.set_all_cpus(has_all_cpus(mask));
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
    if (message.affinity().size() > 1024)
      throw Error(Fault::image, fmt::format("the affinity of thread {} is too long", plan.tid));
    // By the thread itself: another's takes CAP_SYS_NICE.
    if (message.timer_slack_ns() != 0)
      plan.calls.add("prctl(PR_SET_TIMERSLACK)", SYS_prctl, {PR_SET_TIMERSLACK, message.timer_slack_ns(), 0, 0, 0});
    plan.outside.emplace_back([message](trace::Tracee& thread) { apply(message, thread.tid()); });
    return true;
  }
};

}  // namespace

std::unique_ptr<ThreadFacet> make_scheduling() {
  return std::make_unique<SchedulingFacet>();
}

}  // namespace mcr::facets
