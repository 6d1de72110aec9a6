// A parasite in a living program, from infection to cure.
//
// The program is at every moment able to go on by itself: whatever thread runs our code ends, should we be killed, in
// its own saved frame with nothing left mapped (core/arch/cave.h). Needs all threads of the process stopped.
#pragma once

#include <memory>
#include <vector>

#include "core/inject/channel.h"
#include "core/procfs/maps.h"
#include "core/trace/frozen_tree.h"
#include "core/trace/remote_memory.h"

namespace mcr::inject {

// What only the thread itself can ask the kernel about itself.
struct ThreadProbe {
  uint64_t altstack_address = 0, altstack_size = 0;
  uint32_t altstack_flags = 0;
  uint64_t clear_child_tid = 0;
  int parent_death_signal = 0;
  int tsc_mode = 0;     // PR_TSC_*; 0: unknown
  int mce_policy = -1;  // PR_MCE_KILL_*; negative: unknown
  uint32_t securebits = 0;
  bool faults_cpuid = false;
};

// What a thread is asked by begin_probe(), asked of the host by a batch: the constructor adds the questions to it.
class HostQuestions {
 public:
  explicit HostQuestions(Batch& batch);
  ThreadProbe answers(const Batch& batch) const;  // when it has been run

 private:
  RemoteAddr stack_, tid_, death_, tsc_;
  size_t mce_ = 0, securebits_ = 0, cpuid_ = 0;
};

class ParasiteSession {
 public:
  static constexpr size_t kDataBytes = 256 * 1024;

  // `host`: a thread of the process. While it hosts the parasite it makes system calls; see safe_host() of the engine.
  // `in_memory`: all processes that share its memory, it among them; none: it is alone. One session at a time in one
  // memory: the caves have their fixed place there. `status`: that of the host, which may send itself a signal then, if
  // there is one that means nothing to it, and is stopped three times less each way; null: no filter of system calls
  // lets it, or nothing is known of it.
  ParasiteSession(trace::FrozenProcess& process, trace::Tracee& host, const std::vector<procfs::Mapping>& mappings,
                  Damage& damage, std::vector<trace::FrozenProcess*> in_memory = {},
                  const procfs::Status* status = nullptr);
  ~ParasiteSession();  // cures; what fails is recorded as damage
  ParasiteSession(const ParasiteSession&) = delete;
  ParasiteSession& operator=(const ParasiteSession&) = delete;

  Channel& channel() { return *channel_; }
  HostPid pid() const { return pid_; }
  // Where the parasite is mapped: not part of the program.
  uint64_t start() const { return base_.get(); }
  uint64_t end() const { return base_.get() + total_; }

  // Asks a thread other than the host about itself. In two steps, one thread at a time: between them there is time for
  // other work, as a thread takes a while to wake up.
  void begin_probe(trace::Tracee& thread, const procfs::Status& status);
  ThreadProbe end_probe(trace::Tracee& thread);
  void cure();  // leaves nothing; the host stands in its old frame again

 private:
  std::vector<trace::Tracee*> threads_in_memory() const;
  void find_cave();
  bool is_free_cave(RemoteAddr at, size_t bytes) const;
  bool is_awaited(RemoteAddr at, size_t bytes) const;
  void write_cave(RemoteAddr at, const trace::Tracee& thread);
  sys::Registers entry_registers(const trace::Tracee& thread, RemoteAddr entry) const;
  void enter(trace::Tracee& thread, const sys::Registers& registers, uint64_t mask);
  void await_signal(trace::Tracee& thread, int signal);
  void run_to_call(trace::Tracee& thread, long number);
  void choose_signal(const procfs::Status& status);
  void map_blob();
  void map_blob_at_once();
  void connect();
  bool runs_to(uint64_t place);
  void leave();
  void leave_at_once();
  void throw_failed_unmap(uint64_t result) const;
  void undo_attach() noexcept;
  void note_uncured(const char* why);
  sys::Deadline soon() const { return sys::Clock::now() + std::chrono::seconds(10); }

  trace::FrozenProcess& process_;
  HostPid pid_;
  trace::Tracee& host_;
  Damage& damage_;
  trace::RemoteMemory memory_;
  const std::vector<procfs::Mapping>& mappings_;
  std::vector<trace::FrozenProcess*> in_memory_;
  RemoteAddr cave_, probe_cave_, base_;
  size_t cave_bytes_ = 0, total_ = 0;
  std::unique_ptr<Channel> channel_;
  int remote_socket_ = -1, probe_signal_ = 0;
  // How the host stops itself in its cave (0: it is watched from call to call instead), with its own numbers.
  int host_signal_ = 0;
  uint64_t host_tgid_ = 0, host_tid_ = 0;
  bool cave_written_ = false, mapped_ = false;
  bool is_entered_ = false;
  bool asked_for_sockets_ = false;   // from here on the cave finds out by itself, as soon as our end is closed
  trace::Tracee* probed_ = nullptr;  // between begin_probe() and end_probe()
};

}  // namespace mcr::inject
