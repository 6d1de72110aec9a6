// A process that is being restored: cloned from the engine with the parasite already inside, traced with
// PTRACE_O_EXITKILL. Destroyed before release(), it is killed and reaped: nothing half-built outlives a failure.
#pragma once

#include <signal.h>

#include <array>
#include <map>
#include <memory>

#include "core/inject/channel.h"
#include "core/sys/namespaces.h"

namespace mcr::inject {

struct NewProcessPlan {
  pid_t pid = 0;         // wanted, in its pid namespace
  bool sibling = false;  // child of our parent
  bool orphan = false;   // child of init or of the next subreaper
  // Not null: it becomes the first process of these, and `pid` is its number there.
  sys::OwnNamespaces* namespaces = nullptr;
  uint64_t blob_address = 0;  // free in our address space and in the one to be restored
  // Where it and those that share its memory have their parasites; 0: there is no other.
  uint64_t region_start = 0, region_end = 0;
  int socket_number = -1;          // the parasite's socket over there; -1: any. Must be free here
  size_t data_bytes = 256 * 1024;  // batch area, control page and stack
};

// A process that a parasite makes of the one it lives in.
struct SpawnRequest {
  pid_t pid = 0;              // 0: any
  bool sibling = false;       // CLONE_PARENT; the exit signal is that of the creator then
  int exit_signal = SIGCHLD;  // to its parent; clone(2)
  uint64_t shared = 0;        // CLONE_VM, CLONE_SIGHAND, CLONE_FILES, CLONE_FS
  // Its own place and socket, with CLONE_VM; the socket also with CLONE_FILES. Nobody else's in what it shares.
  uint64_t blob_address = 0;
  int socket_number = -1;
};
struct Spawned {
  HostPid pid;
  pid_t inside = 0;                  // its number in its own pid namespace
  std::unique_ptr<Channel> channel;  // closed, the process ends
  uint64_t blob_address = 0;
  int socket_number = -1;
};
// `plan`: with the place and the socket number of `creator`, which are also those of what it makes and shares neither
// memory nor descriptors.
Spawned spawn(Channel& creator, const SpawnRequest& request, const NewProcessPlan& plan);
// Several that share nothing with their creator, are its children and have its pid namespace, which is ours: `made` is
// called for one after the other, while the creator makes the next ones.
void spawn_all(Channel& creator, std::span<const SpawnRequest> requests, const NewProcessPlan& plan,
               const std::function<void(size_t, Spawned)>& made);

class NewProcess {
 public:
  // Cloned from the engine.
  NewProcess(const NewProcessPlan& plan, Damage& damage);
  // Made by another new process.
  NewProcess(Spawned spawned, const NewProcessPlan& plan, Damage& damage);
  ~NewProcess();
  NewProcess(const NewProcess&) = delete;
  NewProcess& operator=(const NewProcess&) = delete;

  Channel& channel() { return *channel_; }
  HostPid pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  UniqueFd take_pidfd() { return std::move(pidfd_); }
  trace::Tracee& leader() { return *threads_.front(); }
  std::vector<std::unique_ptr<trace::Tracee>>& threads() { return threads_; }
  uint64_t blob_start() const { return plan_.blob_address; }
  uint64_t blob_end() const { return plan_.blob_address + total_; }
  // Of this process and of those that share its memory.
  uint64_t region_start() const { return plan_.region_end ? plan_.region_start : blob_start(); }
  uint64_t region_end() const { return plan_.region_end ? plan_.region_end : blob_end(); }
  int control_socket() const { return remote_socket_; }  // its number in the new process
  // From the engine. What comes from other new processes has none: it was unregistered there.
  const sys::RseqConfiguration& inherited_rseq() const { return rseq_; }

  // The number that a thread has here, by that in the pid namespace of the process.
  HostTid host_tid(pid_t inside) const;
  // All but the leader, by their numbers in the pid namespace of the process; stops them.
  void seize_threads(const std::vector<pid_t>& tids);
  // Starts a system call in a stopped thread and interrupts it at once; returns what stands in rax then: its result,
  // or the code that says how the kernel would go on with it.
  int64_t begin_call(trace::Tracee& thread, RemoteAddr gadget, long number, const std::array<uint64_t, 6>& args);
  // The kernel gives a thread room for AMX tiles at its first instruction that touches them (5.16): makes the stopped
  // thread execute one. Its process must have the permission (arch_prctl ARCH_REQ_XCOMP_PERM). Its registers change.
  void make_room_for_tiles(trace::Tracee& thread);
  // Runs one system call in a stopped thread from a `syscall` instruction at `gadget`; the result.
  int64_t call(trace::Tracee& thread, RemoteAddr gadget, long number, const std::array<uint64_t, 6>& args);
  int64_t last_call(RemoteAddr gadget, long number, const std::array<uint64_t, 6>& args) {
    return call(leader(), gadget, number, args);
  }
  // The parasite closes its socket and sleeps: from here on only ptrace reaches the process. Nobody else may have that
  // socket.
  void close_channel();
  // From now on until release() its seccomp filters are not asked.
  void suspend_seccomp(trace::Tracee& thread);
  // Lets the leader exit alone (_exit(2) by number 60) and waits until it is the zombie of its threads, which live on.
  void end_leader(RemoteAddr gadget, int exit_code);
  // Stops it as SIGSTOP does, so that it stays stopped when it is let go. All threads must stand still, all signals
  // blocked, with the registers that they are to have.
  void stop_by_job_control();
  trace::Tracee& thread(HostTid tid);
  void commit();   // from here on it outlives us, still standing
  void release();  // lets it go

 private:
  void seize_leader(bool may_have_rseq);
  std::map<pid_t, HostTid> host_tids() const;
  void point_at_call(trace::Tracee& thread, RemoteAddr gadget, long number, const std::array<uint64_t, 6>& args);

  NewProcessPlan plan_;
  Damage& damage_;
  size_t total_;
  HostPid pid_;
  UniqueFd pidfd_;
  int remote_socket_ = -1;
  std::unique_ptr<Channel> channel_;
  std::vector<std::unique_ptr<trace::Tracee>> threads_;
  sys::RseqConfiguration rseq_{};
  bool released_ = false;
};

// Bytes of the parasite's whole mapping for a data area of so many bytes.
size_t blob_bytes(size_t data_bytes);

}  // namespace mcr::inject
