#include "core/trace/held_tree.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"

namespace mcr::trace {
namespace {

using sys::StopEvent;

bool has_stop_waiting(HostTid tid) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/status", tid));
  return text && (procfs::parse_status(*text).sig_pending >> (SIGSTOP - 1) & 1) != 0;
}

bool has_continue_waiting(const FrozenProcess& process) {
  return std::ranges::any_of(process.threads, [](const auto& thread) {
    const auto text = sys::try_read_text(fmt::format("/proc/{}/status", thread->tid()));
    if (!text) return false;
    const auto status = procfs::parse_status(*text);
    return ((status.sig_pending | status.shared_pending) >> (SIGCONT - 1) & 1) != 0;
  });
}

StopEvent next_stop(Tracee& thread) {
  const auto event = sys::wait_stop(thread.tid(), sys::Clock::now() + std::chrono::seconds(5));
  if (!event) throw Error(Fault::timeout, fmt::format("thread {} did not stop in time", thread.tid()));
  if (event->kind != StopEvent::Kind::ended) return *event;
  thread.abandon();
  throw Error(Fault::system, fmt::format("thread {} was killed meanwhile", thread.tid()), "dump again");
}

// It goes on from its trap to the next signal, all inside of the kernel (kernel/signal.c, get_signal): those of its own
// come first, by their numbers, then those of the process. They are delivered, which sets up a handler's frame at most.
// A system call would be one of the program: somebody has sent SIGCONT, which takes a waiting SIGSTOP away.
void run_to_stop_signal(Tracee& thread) {
  for (int signal = 0;;) {
    if (!sys::resume_to_syscall(thread.tid(), signal))
      throw Error(Fault::system, fmt::format("thread {} was killed meanwhile", thread.tid()), "dump again");
    const StopEvent event = next_stop(thread);
    if (event.kind == StopEvent::Kind::syscall)
      throw Error(Fault::refused, "somebody has continued the program (SIGCONT) while its sockets were read",
                  "dump again");
    signal = event.kind == StopEvent::Kind::signal ? event.signal : 0;
    if (signal == SIGSTOP) return;
  }
}

// The interrupt is asked for before it goes on: it stops again before it has left the kernel. A SIGSTOP of somebody
// else that was there before ours goes back.
void take_back(HostPid pid, Tracee& thread) {
  if (thread.gone() || !has_stop_waiting(thread.tid())) return;
  run_to_stop_signal(thread);
  // To a process of another pid namespace we have no number.
  const pid_t sender = sys::get_siginfo(thread.tid()).si_pid;
  const bool is_ours = sender == sys::own_pid().get() || sender == 0;
  if (!sys::interrupt(thread.tid()) || !sys::resume(thread.tid()) ||
      !thread.wait_until_stopped(sys::Clock::now() + std::chrono::seconds(5)))
    throw Error(Fault::system, fmt::format("thread {} was killed meanwhile", thread.tid()), "dump again");
  if (!is_ours) sys::try_stop_thread(pid, thread.tid());
  thread.remember();
}

}  // namespace

HeldTree::HeldTree(const std::vector<std::unique_ptr<FrozenProcess>>& processes, const std::set<HostPid>& views,
                   Damage& damage)
    : damage_(damage) {
  std::vector<int> pidfds;
  for (const auto& process : processes) {
    if (process->zombie || !views.contains(process->view())) continue;
    if (process->will_be_stopped() || has_continue_waiting(*process)) continue;
    for (const auto& thread : process->threads) held_.push_back({process->pid, thread.get()});
    pidfds.push_back(process->pidfd.get());
  }
  if (held_.empty()) return;
  waker_.emplace(pidfds);
  for (const Held& one : held_) sys::try_stop_thread(one.pid, one.thread->tid());
}

void HeldTree::release() {
  const Step step("take back SIGSTOP");
  while (!held_.empty()) {
    const Held one = held_.back();
    held_.pop_back();
    const bool was_whole = std::exchange(is_whole_, false);
    take_back(one.pid, *one.thread);
    is_whole_ = was_whole;
  }
  if (waker_ && is_whole_) waker_->release();
  waker_.reset();
}

HeldTree::~HeldTree() {
  try {
    release();
  } catch (const std::exception& e) {
    damage_.record(fmt::format("a SIGSTOP of ours was taken away by SIGCONT: {}", e.what()));
    log::error("trace", "a SIGSTOP of ours was taken away by SIGCONT: {}", e.what());
  }
}

}  // namespace mcr::trace
