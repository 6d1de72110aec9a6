// Every thread of a process tree, stopped. Destroyed, it lets all of them go.
//
// A pass seizes and interrupts what it finds, then looks again: a stopped thread creates no new one, so a pass that
// finds nothing new has everything. What was listed and could not be seized counts as new: it may have made another
// before it ended.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/procfs/status.h"
#include "core/sys/seize_watch.h"
#include "core/trace/tracee.h"

namespace mcr::trace {

struct FrozenProcess {
  HostPid pid;
  HostPid parent;
  UniqueFd pidfd;
  std::vector<std::unique_ptr<Tracee>> threads;  // the leader first, unless it has ended; none in a zombie
  // A thread that lives. Memory and descriptors of a process are reached through any of them, by /proc/TID and system
  // calls; through the pid only while the leader lives.
  HostPid view() const { return HostPid(threads.front()->tid().get()); }
  bool leader_ended() const { return view() != pid; }
  UniqueFd thread_pidfd;  // of the viewed thread, when the leader has ended
  int descriptors_pidfd() const { return leader_ended() ? thread_pidfd.get() : pidfd.get(); }
  bool zombie = false;  // it has ended, its parent has not collected it
  bool stopped_by_job_control() const { return stop_signal() != 0; }
  int stop_signal() const;
  // Whether job control has it stopped once we let go of it: signals that came meanwhile count.
  bool will_be_stopped() const;
  // Whether it was killed although it stands still, and ends or has ended. Of a zombie: false.
  bool was_killed() const;
};

class FrozenTree {
 public:
  // Refuses before touching anything what must not be frozen (see refuse_unfreezable). Throws; then all run on.
  FrozenTree(HostPid root, const sys::Deadline& deadline, Damage& damage);
  ~FrozenTree();

  std::vector<std::unique_ptr<FrozenProcess>>& processes() { return processes_; }
  const std::vector<std::unique_ptr<FrozenProcess>>& processes() const { return processes_; }
  sys::Clock::time_point first_stop() const { return first_stop_; }

  void thaw();  // lets every thread go, with errors
  // SIGKILL to every process, waits until each is gone; `meanwhile` is called while they end.
  void kill(const std::function<void()>& meanwhile = {});
  void leave_stopped();  // SIGSTOP to every process, then lets go

 private:
  void kill_all();
  bool seize_new_threads(FrozenProcess& process);  // true: found some
  bool find_children(HostPid pid);                 // of it and of all below; true: found some
  bool awaits_vfork(HostPid parent, HostPid child) const;
  // nullptr: it has ended. `again`: it, or what it has made, is to be looked for once more.
  std::unique_ptr<Tracee> seize_thread(HostPid pid, HostTid tid, std::span<const HostTid> traced, bool& again);
  void wait_for_all(const sys::Deadline& deadline);
  void note_events();
  bool all_stand_still();
  void settle();  // what has ended meanwhile, what has left the tree, parents before children
  void sort_by_descent();

  Damage& damage_;
  sys::Clock::time_point first_stop_;
  std::vector<std::unique_ptr<FrozenProcess>> processes_;  // parents before children
  // While it is being frozen:
  std::optional<sys::SeizeWatch> watch_;
  std::map<HostTid, int> missed_;    // how often each could not be seized though it lived
  std::set<HostPid> ended_leaders_;  // listed as long as other threads live
};

// Throws Error (refused) when pid cannot be frozen: not there, a kernel thread, ourselves or one of our ancestors, or a
// zombie. Reads /proc only.
void refuse_unfreezable(HostPid pid);
// Throws Error (refused) naming the tracer when the thread has one.
void refuse_traced(HostTid tid, const procfs::Status& status);

// The process and everything below it, parents before children, zombies left out. For a look before the freeze.
std::vector<HostPid> tree_of(HostPid root);
// Pids of the children of all threads of a process (/proc/PID/task/*/children).
std::vector<HostPid> children_of(HostPid pid);
std::vector<HostTid> threads_of(HostPid pid);  // empty when the process is gone
// The leader if it lives, else another thread that does, as a pid for /proc and system calls; `pid` when none lives.
HostPid living_thread(HostPid pid);
// pidfd_open(2) for what living_thread() or FrozenProcess::view() gave: of the process, or of that thread.
UniqueFd open_view_pidfd(HostPid view);
// The number of a process or thread in its own pid namespace; the same when that is ours, or when it is gone.
pid_t number_inside(HostTid tid);
std::string describe_process(HostPid pid);  // "4711 (python3)"

}  // namespace mcr::trace
