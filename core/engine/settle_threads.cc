#include "core/engine/settle_threads.h"

#include "core/arch/cave.h"
#include "core/base/error.h"
#include "core/engine/look.h"
#include "core/engine/seccomp_state.h"
#include "core/engine/thread_files.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"
#include "core/trace/critical_section.h"

namespace mcr::engine {
namespace {

procfs::Status status_of(HostPid view, HostTid tid) {
  return procfs::parse_status(sys::read_text(fmt::format("/proc/{}/task/{}/status", view, tid)));
}

std::optional<trace::SleepingCall> settle_call(trace::Tracee& thread, HostPid view, const trace::LastRuns& runs,
                                               uint64_t stopped_ns) {
  const sys::Registers& frame = thread.frame();
  if (static_cast<int64_t>(frame.orig_rax) < 0) return std::nullopt;
  if (static_cast<int64_t>(frame.rax) == arch::kRestartBlock)
    return trace::examine_sleeping_call(thread, view, runs, stopped_ns);
  if (static_cast<int64_t>(frame.rax) == trace::kInterrupted) {
    const auto status = status_of(view, thread.tid());
    trace::settle_ended_call(thread, (status.sig_pending | status.shared_pending) & ~status.sig_blocked);
  }
  return std::nullopt;
}

}  // namespace

SettledProcess settle_threads(trace::FrozenProcess& process, const trace::LastRuns& runs, uint64_t stopped_ns) {
  SettledProcess settled;
  if (process.zombie) return settled;
  const Step step("process {}", process.pid);
  const HostPid view = process.view();
  settled.filters = seccomp_chains(process);
  settled.host_index = safe_host(process, settled.filters);
  const HostTid host = process.threads[settled.host_index]->tid();
  refuse_thread(view, {host, status_of(view, host), 0, {}});  // the others are asked before they are borrowed
  for (const auto& thread : process.threads) {
    refuse_frozen_thread(*thread, view);
    settled.rseq.push_back(trace::leave_critical_section(*thread, view));
    settled.sleeping.push_back(settle_call(*thread, view, runs, stopped_ns));
  }
  return settled;
}

}  // namespace mcr::engine
