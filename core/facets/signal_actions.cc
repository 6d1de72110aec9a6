// Handlers (rt_sigaction(2)). The new process starts with all defaults (CLONE_CLEAR_SIGHAND), but for what restore
// itself ignores.
#include <signal.h>
#include <sys/syscall.h>

#include "core/facets/factories.h"
#include "core/facets/value_check.h"
#include "images/proto/facets.pb.h"

namespace mcr::facets {
namespace {

constexpr int kSignals = 64;

struct KernelAction {  // struct kernel_sigaction of x86-64
  uint64_t handler, flags, restorer, mask;
};

class SignalActionsFacet : public ProcessFacet {
 public:
  void ask(inject::Batch& batch, const ProcessView&) override {
    buffers_ = batch.reserve(kSignals * sizeof(KernelAction));
    for (int signal = 1; signal <= kSignals; ++signal) {
      if (signal == SIGKILL || signal == SIGSTOP) continue;
      batch.add("rt_sigaction", SYS_rt_sigaction, {static_cast<uint64_t>(signal), 0, slot(signal).get(), 8});
    }
  }

  void collect(const inject::Batch& batch, const ProcessView&, google::protobuf::Any& out) override {
    image::SignalActions message;
    for (int signal = 1; signal <= kSignals; ++signal) {
      if (signal == SIGKILL || signal == SIGSTOP) continue;
      const auto action = batch.get<KernelAction>(slot(signal));
      if (action.handler == 0 && action.flags == 0 && action.mask == 0) continue;
      auto* added = message.add_actions();
      added->set_signal(signal);
      added->set_handler(action.handler);
      added->set_flags(action.flags);
      added->set_restorer(action.restorer);
      added->set_mask(action.mask);
    }
    out.PackFrom(message);
  }

  void check(const google::protobuf::Any& from) const override {
    image::SignalActions message;
    if (!from.UnpackTo(&message)) return;
    require_value(message.actions_size() <= kSignals, "the number of actions", message.actions_size());
    for (const auto& action : message.actions()) {
      const bool can_be_set = action.signal() != SIGKILL && action.signal() != SIGSTOP;
      require_value(bounds::is_signal(action.signal()) && can_be_set, "signal", action.signal());
      require_value(bounds::is_user_address(action.handler()), "handler", action.handler());
      require_value(bounds::is_user_address(action.restorer()), "restorer", action.restorer());
    }
  }

  bool restore(const google::protobuf::Any& from, ProcessPlan& plan) override {
    image::SignalActions message;
    if (!from.UnpackTo(&message)) return false;
    // What whoever started us lets us ignore (nohup(1)) would be ignored by the program too.
    for (int signal = 1; signal <= kSignals; ++signal)
      if ((plan.own.sig_ignored >> (signal - 1) & 1) != 0)
        plan.early.add("rt_sigaction", SYS_rt_sigaction,
                       {static_cast<uint64_t>(signal), plan.buffers.put_value(KernelAction{}).get(), 0, 8});
    for (const auto& action : message.actions()) {
      const KernelAction value{action.handler(), action.flags(), action.restorer(), action.mask()};
      plan.early.add("rt_sigaction", SYS_rt_sigaction,
                     {static_cast<uint64_t>(action.signal()), plan.buffers.put_value(value).get(), 0, 8});
    }
    return true;
  }

 private:
  RemoteAddr slot(int signal) const { return buffers_ + static_cast<uint64_t>(signal - 1) * sizeof(KernelAction); }
  RemoteAddr buffers_;
};

}  // namespace

std::unique_ptr<ProcessFacet> make_signal_actions() {
  return std::make_unique<SignalActionsFacet>();
}

}  // namespace mcr::facets
