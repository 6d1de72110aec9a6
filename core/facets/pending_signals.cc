// Signals that wait to be delivered, with their siginfo: of the process and of each thread. Queued again by the
// receiver itself, since only a thread may send itself a siginfo as the kernel would make it (rt_sigqueueinfo(2)).
#include <sys/syscall.h>

#include "core/base/error.h"
#include "core/facets/factories.h"
#include "images/proto/facets.pb.h"

namespace mcr::facets {
namespace {

void pack(const std::vector<siginfo_t>& signals, google::protobuf::Any& out) {
  image::PendingSignals message;
  for (const siginfo_t& info : signals) message.add_siginfo(&info, sizeof info);
  out.PackFrom(message);
}

siginfo_t unpack(const std::string& bytes) {
  siginfo_t info{};
  if (bytes.size() != sizeof info) throw Error(Fault::image, "a pending signal has the wrong size");
  std::memcpy(&info, bytes.data(), sizeof info);
  if (info.si_signo < 1 || info.si_signo > 64)
    throw Error(Fault::image, fmt::format("pending signal {}", info.si_signo));
  return info;
}

bool comes_from_its_timer(const siginfo_t& info, TimerSignals& timers) {
  if (info.si_code != SI_TIMER || !timers.timers.contains(info.si_timerid)) return false;
  timers.pending.insert(info.si_timerid);
  return true;
}

class SharedSignalsFacet : public ProcessFacet {
 public:
  void ask(inject::Batch&, const ProcessView&) override {}
  void collect(const inject::Batch&, const ProcessView& view, google::protobuf::Any& out) override {
    if (view.status.shared_pending != 0) return pack(sys::peek_signals(view.leader.tid(), true), out);
    pack({}, out);
  }
  // The first facet with this message is the process', the others are the threads': told apart by where they stand.
  bool restore(const google::protobuf::Any& from, ProcessPlan& plan) override {
    image::PendingSignals message;
    if (!from.UnpackTo(&message)) return false;
    for (const std::string& bytes : message.siginfo()) {
      const siginfo_t info = unpack(bytes);
      if (comes_from_its_timer(info, plan.timer_signals)) continue;
      plan.late.add(
          "rt_sigqueueinfo", SYS_rt_sigqueueinfo,
          {static_cast<uint64_t>(plan.pid), static_cast<uint64_t>(info.si_signo), plan.buffers.put_value(info).get()});
    }
    return true;
  }
};

class ThreadSignalsFacet : public ThreadFacet {
 public:
  void dump(const ThreadView& view, google::protobuf::Any& out) override {
    if (view.status.sig_pending != 0) return pack(sys::peek_signals(view.thread.tid(), false), out);
    pack({}, out);
  }
  bool restore(const google::protobuf::Any& from, ThreadPlan& plan) override {
    image::PendingSignals message;
    if (!from.UnpackTo(&message)) return false;
    for (const std::string& bytes : message.siginfo()) {
      const siginfo_t info = unpack(bytes);
      if (comes_from_its_timer(info, plan.timer_signals)) continue;
      plan.calls.add("rt_tgsigqueueinfo", SYS_rt_tgsigqueueinfo,
                     {static_cast<uint64_t>(plan.pid), static_cast<uint64_t>(plan.tid),
                      static_cast<uint64_t>(info.si_signo), plan.buffers.put_value(info).get()});
    }
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
