// Signals that wait to be delivered, with their siginfo: of the process and of each thread. Queued again by the
// receiver itself, since only a thread may send itself a siginfo as the kernel would make it (rt_sigqueueinfo(2)).
#include <sys/syscall.h>

#include "core/base/error.h"
#include "core/facets/factories.h"
#include "core/facets/timer_calls.h"
#include "images/proto/facets.pb.h"

namespace mcr::facets {
namespace {

constexpr size_t kSysPrivate = 32;  // offset of si_sys_private (asm-generic/siginfo.h)

// Beyond RLIMIT_SIGPENDING a standard signal is noted without siginfo; who takes it sees one of SI_USER and zeros
// (kernel/signal.c, collect_signal).
void pack(std::vector<siginfo_t> signals, uint64_t pending, google::protobuf::Any& out) {
  for (const siginfo_t& info : signals)
    if (info.si_signo >= 1 && info.si_signo <= 64) pending &= ~(uint64_t{1} << (info.si_signo - 1));
  for (int signal = 1; signal <= 64; ++signal) {
    if (!(pending >> (signal - 1) & 1)) continue;
    siginfo_t info{};
    info.si_signo = signal;
    info.si_code = SI_USER;
    signals.push_back(info);
  }
  image::PendingSignals message;
  for (siginfo_t& info : signals) {
    // The kernel's mark of a timer's own signal; in a copy it would be taken for that (before 6.13).
    if (info.si_code == SI_TIMER) std::memset(reinterpret_cast<char*>(&info) + kSysPrivate, 0, sizeof(int));
    message.add_siginfo(&info, sizeof info);
  }
  out.PackFrom(message);
}

siginfo_t unpack(const std::string& bytes) {
  siginfo_t info{};
  if (bytes.size() != sizeof info) throw Error(Fault::image, "a pending signal has the wrong size");
  std::memcpy(&info, bytes.data(), sizeof info);
  if (info.si_signo < 1 || info.si_signo > 64 || info.si_signo == SIGKILL)
    throw Error(Fault::image, fmt::format("pending signal {}", info.si_signo));
  return info;
}

// The timer whose own signal this is. A second signal of the same timer can only be a copy that somebody has made.
const image::PosixTimer* timer_of(const siginfo_t& info, const TimerSignals& all, std::set<int>& seen) {
  const auto timer = info.si_code == SI_TIMER ? all.timers.find(info.si_timerid) : all.timers.end();
  return timer != all.timers.end() && seen.insert(info.si_timerid).second ? &timer->second : nullptr;
}

// In the order of the queue: what is queued by a call, and what its timer queues when it is armed here.
template <typename Queue>
void queue_again(const image::PendingSignals& message, const TimerSignals& all, inject::CallList& calls,
                 inject::Batch& buffers, Queue queue) {
  std::set<int> seen;
  for (const std::string& bytes : message.siginfo()) {
    const siginfo_t info = unpack(bytes);
    const auto* timer = timer_of(info, all, seen);
    if (timer == nullptr)
      queue(info.si_signo, buffers.put_value(info));
    else if (is_armed_in_place(*timer, all))
      arm_timer(*timer, all, calls, buffers);
  }
}

class SharedSignalsFacet : public ProcessFacet {
 public:
  void ask(inject::Batch&, const ProcessView&) override {}
  void collect(const inject::Batch&, const ProcessView& view, google::protobuf::Any& out) override {
    pack(sys::peek_signals(view.leader.tid(), true), view.status.shared_pending, out);
  }
  void check(const google::protobuf::Any& from) const override {
    image::PendingSignals message;
    if (!from.UnpackTo(&message)) return;
    for (const std::string& bytes : message.siginfo()) unpack(bytes);
  }
  // The first facet with this message is the process', the others are the threads': told apart by where they stand.
  bool restore(const google::protobuf::Any& from, ProcessPlan& plan) override {
    image::PendingSignals message;
    if (!from.UnpackTo(&message)) return false;
    queue_again(message, plan.timer_signals, plan.signals, plan.buffers, [&](int signal, RemoteAddr info) {
      plan.signals.add("rt_sigqueueinfo", SYS_rt_sigqueueinfo,
                       {static_cast<uint64_t>(plan.pid), static_cast<uint64_t>(signal), info.get()});
    });
    return true;
  }
};

class ThreadSignalsFacet : public ThreadFacet {
 public:
  void dump(const ThreadView& view, google::protobuf::Any& out) override {
    if (view.status.sig_pending != 0)
      pack(sys::peek_signals(view.thread.tid(), false), view.status.sig_pending, out);
    else
      pack({}, 0, out);
  }
  void check(const google::protobuf::Any& from) const override {
    image::PendingSignals message;
    if (!from.UnpackTo(&message)) return;
    for (const std::string& bytes : message.siginfo()) unpack(bytes);
  }
  bool restore(const google::protobuf::Any& from, ThreadPlan& plan) override {
    image::PendingSignals message;
    if (!from.UnpackTo(&message)) return false;
    // Made by this thread itself, so that their signals take their place in its queue.
    for (const auto& [id, timer] : plan.timer_signals.timers) {
      if (maker_of(timer, plan.timer_signals) != plan.tid) continue;
      create_timer(timer, plan.timer_signals, plan.calls, plan.buffers);
      if (must_take_a_signal(timer, plan.timer_signals)) arm_timer(timer, plan.timer_signals, plan.calls, plan.buffers);
    }
    queue_again(message, plan.timer_signals, plan.calls, plan.buffers, [&](int signal, RemoteAddr info) {
      plan.calls.add("rt_tgsigqueueinfo", SYS_rt_tgsigqueueinfo,
                     {static_cast<uint64_t>(plan.pid), static_cast<uint64_t>(plan.tid), static_cast<uint64_t>(signal),
                      info.get()});
    });
    return true;
  }
};

}  // namespace

std::unique_ptr<ProcessFacet> make_shared_signals() {
  return std::make_unique<SharedSignalsFacet>();
}
std::unique_ptr<ThreadFacet> make_thread_signals() {
  return std::make_unique<ThreadSignalsFacet>();
}

}  // namespace mcr::facets
