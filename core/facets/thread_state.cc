// What the kernel keeps of a thread besides its registers: signal mask and alternate stack; the addresses it writes to
// or reads from by itself (clear_child_tid, robust list, rseq); what prctl(2) sets for a single thread.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>

#include "core/base/log.h"
#include "core/facets/factories.h"
#include "core/facets/value_check.h"
#include "core/sys/ptrace.h"
#include "images/proto/facets.pb.h"

namespace mcr::facets {
namespace {

constexpr uint64_t kRobustHead = 24;  // sizeof(struct robust_list_head)

class SignalStateFacet : public ThreadFacet {
 public:
  void dump(const ThreadView& view, google::protobuf::Any& out) override {
    image::SignalState message;
    message.set_blocked(view.thread.mask());
    message.set_altstack_address(view.probe.altstack_address);
    message.set_altstack_size(view.probe.altstack_size);
    message.set_altstack_flags(view.probe.altstack_flags & ~static_cast<uint32_t>(SS_ONSTACK));
    out.PackFrom(message);
  }
  void check(const google::protobuf::Any& from) const override {
    image::SignalState m;
    if (!from.UnpackTo(&m)) return;
    constexpr uint32_t kKnown = SS_DISABLE | 1u << 31;  // SS_AUTODISARM
    require_value(bounds::is_user_range(m.altstack_address(), m.altstack_size()), "altstack_size", m.altstack_size());
    require_value((m.altstack_flags() & ~kKnown) == 0, "altstack_flags", m.altstack_flags());
  }
  bool restore(const google::protobuf::Any& from, ThreadPlan& plan) override {
    image::SignalState message;
    if (!from.UnpackTo(&message)) return false;
    stack_t stack{};
    stack.ss_sp = reinterpret_cast<void*>(message.altstack_address());
    stack.ss_size = message.altstack_size();
    stack.ss_flags = static_cast<int>(message.altstack_flags());
    if (stack.ss_size == 0) stack.ss_flags = SS_DISABLE;
    plan.calls.add("sigaltstack", SYS_sigaltstack, {plan.buffers.put_value(stack).get(), 0});
    const uint64_t blocked = message.blocked();
    plan.outside.emplace_back([blocked](trace::Tracee& thread) { sys::set_signal_mask(thread.tid(), blocked); });
    return true;
  }
};

class ThreadPointersFacet : public ThreadFacet {
 public:
  void dump(const ThreadView& view, google::protobuf::Any& out) override {
    image::ThreadPointers message;
    message.set_clear_child_tid(view.probe.clear_child_tid);
    const auto robust = sys::robust_list_of(view.thread.tid());
    message.set_robust_list(robust.head);
    message.set_robust_list_length(robust.length);
    const auto& rseq = view.rseq;
    message.set_rseq_address(rseq.address);
    message.set_rseq_size(rseq.size);
    message.set_rseq_signature(rseq.signature);
    message.set_rseq_flags(rseq.flags);
    out.PackFrom(message);
  }
  void check(const google::protobuf::Any& from) const override {
    image::ThreadPointers m;
    if (!from.UnpackTo(&m)) return;
    require_value(bounds::is_user_address(m.clear_child_tid()), "clear_child_tid", m.clear_child_tid());
    require_value(bounds::is_user_address(m.robust_list()), "robust_list", m.robust_list());
    require_value(m.robust_list() == 0 || m.robust_list_length() == kRobustHead, "robust_list_length",
                  m.robust_list_length());
    require_value(bounds::is_user_range(m.rseq_address(), m.rseq_size()), "rseq_address", m.rseq_address());
    require_value(m.rseq_address() % 32 == 0, "rseq_address", m.rseq_address());
    require_value(m.rseq_flags() == 0, "rseq_flags", m.rseq_flags());
  }
  bool restore(const google::protobuf::Any& from, ThreadPlan& plan) override {
    image::ThreadPointers message;
    if (!from.UnpackTo(&message)) return false;
    plan.calls.add("set_tid_address", SYS_set_tid_address, {message.clear_child_tid()});
    if (message.robust_list() != 0)
      plan.calls.add("set_robust_list", SYS_set_robust_list, {message.robust_list(), message.robust_list_length()});
    if (message.rseq_address() != 0)
      plan.calls.add("rseq", SYS_rseq,
                     {message.rseq_address(), message.rseq_size(), message.rseq_flags(), message.rseq_signature()});
    return true;
  }
};

// What prctl(2) takes for a state of speculation as /proc/PID/status words it (fs/proc/array.c); 0: nothing that a
// thread can choose. PR_SPEC_DISABLE_NOEXEC is shown like PR_SPEC_DISABLE.
uint64_t speculation_choice(std::string_view text) {
  if (text == "thread force mitigated" || text == "conditional force disabled") return PR_SPEC_FORCE_DISABLE;
  if (text == "thread mitigated" || text == "conditional disabled") return PR_SPEC_DISABLE;
  if (text == "thread vulnerable" || text == "conditional enabled") return PR_SPEC_ENABLE;
  return 0;
}

void choose_speculation(uint64_t which, const std::string& wanted, const std::string& own, ThreadPlan& plan) {
  const uint64_t choice = speculation_choice(wanted);
  if (choice == 0 || wanted == own) return;
  if (speculation_choice(own) != 0)
    plan.calls.add("prctl(PR_SET_SPECULATION_CTRL)", SYS_prctl, {PR_SET_SPECULATION_CTRL, which, choice, 0, 0});
  else if (choice != PR_SPEC_ENABLE && own != "not vulnerable" && own != "not affected" && own != "always disabled" &&
           own != "globally mitigated")
    log::warning("facets", "thread {} had chosen a mitigation (\"{}\") that this kernel does not offer (\"{}\")",
                 plan.tid, wanted, own);
}

class ThreadControlFacet : public ThreadFacet {
 public:
  void dump(const ThreadView& view, google::protobuf::Any& out) override {
    image::ThreadControl message;
    message.set_parent_death_signal(view.probe.parent_death_signal);
    message.set_store_bypass(view.status.store_bypass);
    message.set_indirect_branch(view.status.indirect_branch);
    message.set_tsc_mode(view.probe.tsc_mode);
    if (view.probe.mce_policy >= 0 && view.probe.mce_policy <= PR_MCE_KILL_DEFAULT)
      message.set_mce_policy(view.probe.mce_policy + 1);
    message.set_faults_cpuid(view.probe.faults_cpuid);
    const sys::SyscallDispatch dispatch = sys::get_syscall_dispatch(view.thread.tid());
    if (dispatch.mode != 0) {
      message.mutable_dispatch()->set_mode(dispatch.mode);
      message.mutable_dispatch()->set_selector(dispatch.selector);
      message.mutable_dispatch()->set_offset(dispatch.offset);
      message.mutable_dispatch()->set_length(dispatch.length);
    }
    out.PackFrom(message);
  }
  void check(const google::protobuf::Any& from) const override {
    image::ThreadControl m;
    if (!from.UnpackTo(&m)) return;
    require_value(bounds::is_signal_or_none(m.parent_death_signal()), "parent_death_signal", m.parent_death_signal());
    require_value(m.tsc_mode() <= PR_TSC_SIGSEGV, "tsc_mode", m.tsc_mode());
    require_value(m.mce_policy() <= PR_MCE_KILL_DEFAULT + 1, "mce_policy", m.mce_policy());
    require_value(m.dispatch().mode() <= 1, "the mode of system call dispatch", m.dispatch().mode());
  }
  bool restore(const google::protobuf::Any& from, ThreadPlan& plan) override {
    image::ThreadControl message;
    if (!from.UnpackTo(&message)) return false;
    choose_speculation(PR_SPEC_STORE_BYPASS, message.store_bypass(), plan.own.store_bypass, plan);
    choose_speculation(PR_SPEC_INDIRECT_BRANCH, message.indirect_branch(), plan.own.indirect_branch, plan);
    if (message.mce_policy() > 0) {
      const auto policy = static_cast<uint64_t>(message.mce_policy() - 1);
      plan.calls.add("prctl(PR_MCE_KILL)", SYS_prctl, {PR_MCE_KILL, PR_MCE_KILL_SET, policy, 0, 0},
                     policy == PR_MCE_KILL_DEFAULT ? parasite::kMayFail : 0u);
    }
    // After the credentials: changing them clears it.
    if (message.parent_death_signal() != 0)
      plan.last.add("prctl(PR_SET_PDEATHSIG)", SYS_prctl,
                    {PR_SET_PDEATHSIG, static_cast<uint64_t>(message.parent_death_signal())});
    constexpr uint64_t kSetCpuid = 0x1012;  // ARCH_SET_CPUID, 4.12
    if (message.tsc_mode() == PR_TSC_SIGSEGV)
      plan.last.add("prctl(PR_SET_TSC)", SYS_prctl, {PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0});
    if (message.faults_cpuid()) plan.last.add("arch_prctl(ARCH_SET_CPUID)", SYS_arch_prctl, {kSetCpuid, 0});
    if (message.dispatch().mode() != 0) {
      const auto& d = message.dispatch();
      const sys::SyscallDispatch dispatch{d.mode(), d.selector(), d.offset(), d.length()};
      plan.outside.emplace_back(
          [dispatch](trace::Tracee& thread) { sys::set_syscall_dispatch(thread.tid(), dispatch); });
    }
    return true;
  }
};

}  // namespace

std::unique_ptr<ThreadFacet> make_signal_state() {
  return std::make_unique<SignalStateFacet>();
}
std::unique_ptr<ThreadFacet> make_thread_pointers() {
  return std::make_unique<ThreadPointersFacet>();
}
std::unique_ptr<ThreadFacet> make_thread_control() {
  return std::make_unique<ThreadControlFacet>();
}

}  // namespace mcr::facets
