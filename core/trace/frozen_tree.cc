#include "core/trace/frozen_tree.h"

#include <linux/kcmp.h>
#include <signal.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <system_error>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"
#include "core/sys/guardian.h"

namespace mcr::trace {
namespace {

constexpr uint64_t kTraceSysGood = 1;  // PTRACE_O_TRACESYSGOOD. Never EXITKILL here: the victim outlives us.

std::string proc_path(HostPid pid, std::string_view rest) {
  return fmt::format("/proc/{}/{}", pid, rest);
}

}  // namespace

std::string describe_process(HostPid pid) {
  auto comm = sys::try_read_text(proc_path(pid, "comm"));
  if (!comm) return fmt::format("{}", pid);
  while (!comm->empty() && comm->back() == '\n') comm->pop_back();
  return fmt::format("{} ({})", pid, *comm);
}

pid_t number_inside(HostTid tid) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/status", tid));  // leads to threads too
  if (!text) return tid.get();
  const auto status = procfs::parse_status(*text);
  return status.ns_pid.empty() ? tid.get() : status.ns_pid.back();
}

std::vector<HostTid> threads_of(HostPid pid) {
  std::vector<HostTid> tids;
  const std::string folder = proc_path(pid, "task");
  // Where a thread ends while it is listed, the list ends with it (next_tid in fs/proc/base.c). The folder has a link
  // for each thread.
  std::optional<std::vector<std::string>> names;
  for (int attempt = 0; attempt < 100; ++attempt) {
    names = sys::try_list_directory(folder);
    if (!names) return tids;  // it has ended
    const auto status = sys::try_stat(folder);
    if (!status || names->size() + 2 >= status->st_nlink) break;
  }
  for (const std::string& name : *names) tids.emplace_back(std::stoi(name));
  std::sort(tids.begin(), tids.end());
  return tids;
}

HostPid living_thread(HostPid pid) {
  const auto lives = [&](HostTid tid) {
    const auto text = sys::try_read_text(fmt::format("/proc/{}/task/{}/stat", pid, tid));
    if (!text) return false;
    const char state = procfs::parse_stat(*text).state;
    return state != 'Z' && state != 'X';
  };
  if (lives(HostTid(pid.get()))) return pid;
  for (const HostTid tid : threads_of(pid))
    if (lives(tid)) return HostPid(tid.get());
  return pid;
}

UniqueFd open_view_pidfd(HostPid view) {
  const auto status = procfs::parse_status(sys::read_text(proc_path(view, "status")));
  return status.tgid == view.get() ? sys::open_pidfd(view) : sys::open_thread_pidfd(HostTid(view.get()));
}

namespace {

std::vector<HostPid> children_by_threads(HostPid pid, const std::vector<HostTid>& threads) {
  std::vector<HostPid> children;
  for (const HostTid tid : threads) {
    const auto text = sys::try_read_text(fmt::format("/proc/{}/task/{}/children", pid, tid));
    if (!text) continue;
    for (const char* at = text->data(); at < text->data() + text->size();) {
      int value = 0;
      const auto [next, error] = std::from_chars(at, text->data() + text->size(), value);
      if (error == std::errc()) children.emplace_back(value);
      at = next + 1;
    }
  }
  return children;
}

std::vector<HostPid> children_by_parents(HostPid pid, const std::vector<HostPid>& all) {
  std::vector<HostPid> children;
  for (const HostPid candidate : all) {
    const auto text = sys::try_read_text(proc_path(candidate, "stat"));
    if (text && procfs::parse_stat(*text).ppid == pid.get()) children.push_back(candidate);
  }
  return children;
}

std::vector<HostPid> all_processes() {
  std::vector<HostPid> all;
  for (const std::string& name : sys::list_directory("/proc")) {
    int value = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), value);
    if (error == std::errc() && end == name.data() + name.size()) all.emplace_back(value);
  }
  return all;
}

}  // namespace

// Children are listed by the thread that made them. A program of many threads is asked for the other way round.
std::vector<HostPid> children_of(HostPid pid) {
  const std::vector<HostTid> threads = threads_of(pid);
  if (threads.size() <= 32) return children_by_threads(pid, threads);
  const std::vector<HostPid> all = all_processes();
  return all.size() < threads.size() ? children_by_parents(pid, all) : children_by_threads(pid, threads);
}

void refuse_unfreezable(HostPid pid) {
  const auto stat_text = sys::try_read_text(proc_path(pid, "stat"));
  const auto status_text = sys::try_read_text(proc_path(pid, "status"));
  if (!stat_text || !status_text)
    throw Error(Fault::refused, fmt::format("there is no process {}", pid),
                "give the pid of a running process with -t");
  const auto stat = procfs::parse_stat(*stat_text);
  const auto status = procfs::parse_status(*status_text);
  constexpr uint32_t kKernelThread = 0x00200000;  // PF_KTHREAD
  if (stat.flags & kKernelThread)
    throw Error(Fault::refused, fmt::format("{} is a kernel thread", describe_process(pid)));
  if (status.tgid != pid.get())
    throw Error(Fault::refused, fmt::format("{} is a thread of process {}", pid, status.tgid),
                fmt::format("give -t {}", status.tgid));
  // A thread that calls execve(2) takes the number of the leader, which has ended for it.
  const auto has_ended = [&] {
    const auto text = sys::try_read_text(proc_path(pid, "stat"));
    const char state = text ? procfs::parse_stat(*text).state : 'X';
    return state == 'Z' || state == 'X';
  };
  if ((stat.state == 'Z' || stat.state == 'X') && living_thread(pid) == pid && has_ended())
    throw Error(Fault::refused, fmt::format("{} has already ended (zombie)", describe_process(pid)));
  for (HostPid ancestor = sys::own_pid(); ancestor.get() > 0;) {
    if (ancestor == pid)
      throw Error(Fault::refused, fmt::format("{} is mini-criu itself or one of its ancestors", describe_process(pid)),
                  "run mini-criu from outside the tree that is to be dumped");
    const auto text = sys::try_read_text(proc_path(ancestor, "stat"));
    if (!text) break;
    ancestor = HostPid(procfs::parse_stat(*text).ppid);
  }
}

void refuse_traced(HostTid tid, const procfs::Status& status) {
  if (status.tracer == 0) return;
  throw Error(Fault::refused,
              fmt::format("thread {} is already traced by {}", tid, describe_process(HostPid(status.tracer))),
              "end that debugger or tracer first");
}

namespace {

// Documentation/admin-guide/LSM/Yama.rst
void refuse_by_yama(const Error& error) {
  const auto scope = sys::try_read_text("/proc/sys/kernel/yama/ptrace_scope");
  if (error.code() != static_cast<int>(std::errc::operation_not_permitted) || !scope || scope->front() == '0') return;
  throw Error(Fault::refused, fmt::format("Yama forbids to trace it (kernel.yama.ptrace_scope is {})", scope->front()),
              "CAP_SYS_PTRACE is the right that is missing; or set kernel.yama.ptrace_scope to 0");
}

}  // namespace

// A thread that stood still before the signal came has not seen it.
int FrozenProcess::stop_signal() const {
  for (const auto& thread : threads)
    if (thread->group_stopped()) return thread->stop_signal();
  return 0;
}

// A signal to stop takes a waiting SIGCONT out of the queue (kernel/signal.c, prepare_signal): one that is there came
// last.
bool FrozenProcess::was_killed() const {
  return !zombie && is_dying(HostTid(view().get()));
}

bool FrozenProcess::will_be_stopped() const {
  constexpr auto is_in = [](uint64_t set, int signal) { return (set >> (signal - 1) & 1) != 0; };
  const auto text = sys::try_read_text(proc_path(view(), "status"));
  if (!text) return stopped_by_job_control();
  const auto status = procfs::parse_status(*text);
  const uint64_t waiting = status.shared_pending | status.sig_pending;
  if (is_in(waiting, SIGCONT)) return false;
  return stopped_by_job_control() || is_in(waiting, SIGSTOP) ||
         std::ranges::any_of(threads, [](const auto& thread) { return thread->met_stop(); });
}

FrozenTree::FrozenTree(HostPid root, const sys::Deadline& deadline, Damage& damage) : damage_(damage) {
  const Step step("freeze");
  refuse_unfreezable(root);
  watch_.emplace();
  first_stop_ = sys::Clock::now();
  auto process = std::make_unique<FrozenProcess>();
  process->pid = root;
  process->pidfd = sys::open_pidfd(root);
  processes_.push_back(std::move(process));
  for (bool found = true; found;) {
    found = false;
    // By index: find_children appends.
    for (size_t i = 0; i < processes_.size(); ++i) {
      if (seize_new_threads(*processes_[i])) found = true;
    }
    wait_for_all(deadline);
    if (find_children(root)) found = true;
    if (!found && !all_stand_still()) found = true;
    if (deadline && sys::Clock::now() > *deadline)
      throw Error(Fault::timeout, "the tree makes new processes or threads faster than they can be stopped");
  }
  watch_.reset();
  settle();
}

FrozenTree::~FrozenTree() = default;

void FrozenTree::settle() {
  for (auto& p : processes_) {
    // Its parent stands still and cannot collect it: a zombie stays one.
    p->zombie = p->threads.empty();
    std::stable_partition(p->threads.begin(), p->threads.end(),
                          [&](const auto& thread) { return thread->tid().get() == p->pid.get(); });
    if (!p->zombie && p->leader_ended()) p->thread_pidfd = sys::open_thread_pidfd(p->threads.front()->tid());
  }
  sort_by_descent();
}

// Orphans belong to whoever has adopted them: a subreaper of the tree, or nobody of ours; those go on.
void FrozenTree::sort_by_descent() {
  if (processes_.front()->zombie)
    throw Error(Fault::refused, fmt::format("process {} ended while it was being frozen", processes_.front()->pid));
  std::map<HostPid, std::vector<std::unique_ptr<FrozenProcess>>> children;
  std::vector<std::unique_ptr<FrozenProcess>> sorted;
  sorted.push_back(std::move(processes_.front()));
  for (size_t i = 1; i < processes_.size(); ++i) {
    const auto text = sys::try_read_text(proc_path(processes_[i]->pid, "stat"));
    if (!text) continue;  // ended, and collected before its parent was stopped
    processes_[i]->parent = HostPid(procfs::parse_stat(*text).ppid);
    children[processes_[i]->parent].push_back(std::move(processes_[i]));
  }
  for (size_t i = 0; i < sorted.size(); ++i) {
    auto& brothers = children[sorted[i]->pid];
    std::sort(brothers.begin(), brothers.end(), [](const auto& a, const auto& b) { return a->pid < b->pid; });
    for (auto& child : brothers) sorted.push_back(std::move(child));
  }
  processes_ = std::move(sorted);
}

namespace {

// A thread that the kernel runs for the process (io_uring(7)). It executes nothing of the program, has no registers of
// its own, and goes on with its requests.
bool is_worker(HostPid pid, HostTid tid) {
  constexpr uint32_t kIoWorker = 0x10, kUserWorker = 0x4000;  // PF_IO_WORKER (5.12), PF_USER_WORKER (6.4)
  if (tid.get() == pid.get()) return false;
  const auto text = sys::try_read_text(fmt::format("/proc/{}/task/{}/stat", pid, tid));
  return text && (procfs::parse_stat(*text).flags & (kIoWorker | kUserWorker)) != 0;
}

}  // namespace

std::unique_ptr<Tracee> FrozenTree::seize_thread(HostPid pid, HostTid tid, std::span<const HostTid> traced,
                                                 bool& again) {
  constexpr int kPatience = 3;
  std::unique_ptr<Tracee> thread;
  try {
    const sys::SeizeWatch::Scope seizing(*watch_, traced);
    thread = Tracee::seize(tid, kTraceSysGood, damage_);
  } catch (const Error& error) {
    // EPERM for a thread that is just ending, and for one that somebody else has begun to trace since the look. The
    // number may be that of another thread meanwhile: of the one that has called execve(2).
    const auto text = sys::try_read_text(fmt::format("/proc/{}/task/{}/status", pid, tid));
    const auto status = text ? procfs::parse_status(*text) : procfs::Status();
    if (text && status.state != 'Z' && status.state != 'X') {
      again = true;
      if (status.tracer == sys::own_pid().get()) return Tracee::adopt(tid, kTraceSysGood, damage_);
      refuse_traced(tid, status);
      if (++missed_[tid] < kPatience) return nullptr;
      refuse_by_yama(error);
      throw;
    }
  }
  again = thread || tid.get() != pid.get() || ended_leaders_.insert(pid).second;
  return thread;
}

bool FrozenTree::seize_new_threads(FrozenProcess& process) {
  std::erase_if(process.threads, [](const auto& thread) { return thread->gone(); });
  std::set<HostTid> known;
  for (const auto& thread : process.threads) known.insert(thread->tid());
  std::vector<HostTid> traced(known.begin(), known.end());
  bool found = false;
  for (const HostTid tid : threads_of(process.pid)) {
    if (known.contains(tid) || is_worker(process.pid, tid)) continue;
    bool again = false;
    auto thread = seize_thread(process.pid, tid, traced, again);
    if (thread) {
      thread->ask_to_stop();
      process.threads.push_back(std::move(thread));
      traced.push_back(tid);
    }
    found = found || again;
  }
  return found;
}

// In turn: a leader that has ended is not seen to have, before the ends of its other threads were.
void FrozenTree::wait_for_all(const sys::Deadline& deadline) {
  constexpr auto kWhile = std::chrono::milliseconds(10);
  for (bool waiting = true; waiting;) {
    waiting = false;
    for (auto& process : processes_)
      for (auto& thread : process->threads) {
        if (thread->stopped() || thread->gone() || thread->wait_a_while(sys::Clock::now() + kWhile)) continue;
        if (deadline && sys::Clock::now() > *deadline) thread->throw_late();
        waiting = true;
      }
    if (waiting) note_events();
  }
}

// A thread in execve(2) does not stop before we know of the ends of all others.
void FrozenTree::note_events() {
  if (!sys::any_event_waits()) return;
  for (auto& process : processes_)
    for (auto& thread : process->threads)
      if (thread->stopped()) thread->note_event();
}

// What stood may have ended since: killed by somebody who did not stand yet, or for the execve(2) of another thread,
// which then has the number of the leader.
bool FrozenTree::all_stand_still() {
  note_events();
  bool all = true;
  for (auto& process : processes_)
    for (auto& thread : process->threads)
      if (!thread->stands_still()) all = false;
  return all;
}

// The maker of a child by vfork(2) sleeps so that nothing but a SIGKILL wakes it: it stops only when that child has
// memory of its own, or has ended. So the child is not stopped before its maker is.
bool FrozenTree::awaits_vfork(HostPid parent, HostPid child) const {
  const auto process = std::ranges::find_if(processes_, [&](const auto& p) { return p->pid == parent; });
  if (process == processes_.end()) return false;
  const auto& threads = (*process)->threads;
  // Empty: found a moment ago. The next pass stops it, and finds the child.
  if (!threads.empty() &&
      std::ranges::all_of(threads, [](const auto& thread) { return thread->stopped() || thread->gone(); }))
    return false;
  try {
    return sys::share_object(parent.get(), child.get(), KCMP_VM).value_or(false);
  } catch (const Error&) {
    return false;  // not ours to look at: refused in its turn
  }
}

// Down to the last generation at once, so that a deep tree takes no more passes than a flat one.
bool FrozenTree::find_children(HostPid pid) {
  std::set<HostPid> known;
  for (const auto& process : processes_) known.insert(process->pid);
  bool found = false;
  std::vector<HostPid> parents{pid};
  while (!parents.empty()) {
    const HostPid parent = parents.back();
    parents.pop_back();
    for (const HostPid child : children_of(parent)) {
      parents.push_back(child);
      if (known.contains(child) || awaits_vfork(parent, child)) continue;
      known.insert(child);
      auto pidfd = sys::try_open_pidfd(child);
      if (!pidfd) {
        found = true;  // before it ended it may have made one that others have adopted
        continue;
      }
      auto added = std::make_unique<FrozenProcess>();
      added->pid = child;
      added->parent = parent;
      added->pidfd = std::move(*pidfd);
      processes_.push_back(std::move(added));
      found = true;
    }
  }
  return found;
}

std::vector<HostPid> tree_of(HostPid root) {
  std::vector<HostPid> tree{root};
  std::set<HostPid> known{root};
  for (size_t i = 0; i < tree.size(); ++i)
    for (const HostPid child : children_of(tree[i])) {
      const auto text = sys::try_read_text(proc_path(child, "status"));
      if (!text || !known.insert(child).second) continue;
      const auto status = procfs::parse_status(*text);
      if (status.state == 'X' || (status.state == 'Z' && status.threads <= 1)) continue;
      tree.push_back(child);
    }
  return tree;
}

void FrozenTree::thaw() {
  for (auto& process : processes_)
    for (auto& thread : process->threads)
      if (!thread->gone()) thread->detach();
}

void FrozenTree::kill(const std::function<void()>& meanwhile) {
  kill_all();
  if (meanwhile) meanwhile();
  // Every thread reports its end to us, its tracer; only then is the leader's death seen by its parent and by the
  // pidfd. Other children of ours may live on (sys::SocketKeeper), so the end of all is not waited for.
  const auto last = sys::Clock::now() + std::chrono::seconds(10);
  const auto have_ended = [&] {
    return std::ranges::all_of(processes_, [](const auto& p) { return sys::wait_readable(p->pidfd.get(), 0); });
  };
  // On our processor, from behind (6.18), while the process does it on its own.
  for (const auto& process : processes_)
    if (!process->zombie) sys::release_memory_of_killed(process->pidfd.get());
  do sys::reap_killed_tracees(std::min(last, sys::Clock::now() + std::chrono::milliseconds(2)));
  while (!have_ended() && sys::Clock::now() < last);
  for (auto& process : processes_)
    if (!sys::wait_readable(process->pidfd.get(), 10'000))
      throw Error(Fault::system, fmt::format("process {} did not end after SIGKILL", process->pid));
}

// The tree as a whole, even should we be killed between two of its processes.
void FrozenTree::kill_all() {
  std::vector<int> pidfds;
  for (const auto& process : processes_)
    if (!process->zombie) pidfds.push_back(process->pidfd.get());
  std::optional<sys::Guardian> guardian;
  if (pidfds.size() > 1) guardian.emplace(pidfds);
  for (auto& process : processes_) {
    if (process->zombie) continue;
    sys::try_kill(process->pid, SIGKILL);
    for (auto& thread : process->threads) thread->abandon();
  }
  if (guardian) guardian->commit();
}

void FrozenTree::leave_stopped() {
  for (auto& process : processes_)
    if (!process->zombie) sys::try_kill(process->pid, SIGSTOP);
  thaw();
}

}  // namespace mcr::trace
