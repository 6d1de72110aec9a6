// One seized thread. Its destructor lets the thread go, exactly as it was; so a throw half-way through a freeze
// releases everything that was held. All calls from the thread of the engine that seized it.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/base/damage.h"
#include "core/sys/ptrace.h"

namespace mcr::trace {

class Tracee {
 public:
  // nullptr when the thread has ended meanwhile. `options` as for PTRACE_SETOPTIONS.
  static std::unique_ptr<Tracee> seize(HostTid tid, uint64_t options, Damage& damage);
  // A thread that is our tracee already: one of its process's that we had seized has called execve(2), and has this
  // number since. `options`: those it was seized with.
  static std::unique_ptr<Tracee> adopt(HostTid tid, uint64_t options, Damage& damage);
  ~Tracee();
  Tracee(const Tracee&) = delete;
  Tracee& operator=(const Tracee&) = delete;

  HostTid tid() const { return tid_; }
  bool stopped() const { return stopped_; }
  bool gone() const { return gone_; }
  bool group_stopped() const { return group_stopped_; }  // by job control, when we stopped it
  int stop_signal() const { return stop_signal_; }
  bool met_stop() const { return met_stop_; }  // SIGSTOP has come since, and was given on

  bool request_stop();  // PTRACE_INTERRUPT; false: gone
  // Waits for the stop that request_stop() asked for. A signal that is just being delivered stays pending: the stop
  // comes first. false: gone. Throws Fault::timeout.
  bool wait_until_stopped(const sys::Deadline& deadline);
  // The same for a part of the time, so that others are not kept waiting. true: it stands, or is gone.
  bool wait_a_while(const sys::Deadline& until);
  [[noreturn]] void throw_late() const;
  void ask_to_stop();  // as request_stop(); that it has ended is left for the wait to find
  void note_event();   // of one that stood: it may have ended since
  // Remembers frame and mask. false: it does not stand any more; it is gone, or was asked to stop.
  bool stands_still();

  // Runs to the next system call border. Throws when the thread ends, the deadline passes, or an instruction faults.
  void run_to_syscall_border(const sys::Deadline& deadline);
  // The same to the next time that it is given this signal, of which it does not get to know.
  void run_to_signal(int signal, const sys::Deadline& deadline);
  void run();  // lets it run; still traced
  // While it runs for us: lets it go on when something has stopped it, which `met` tells. false: it has ended.
  bool keep_running(bool& met);
  // Lets an interrupted call be made again, as far as the end of that call: stop_again() finds it inside, or behind it,
  // with no instruction of the program run. false: a signal came first; it is delivered, the thread stands, at the
  // first instruction of the handler if there is one.
  bool run_into_call(const sys::Deadline& deadline);
  // Runs until job control has stopped it; of the signals that come before only SIGSTOP is delivered.
  void run_into_group_stop(const sys::Deadline& deadline);
  // True when it has stopped to be given this signal, which it will not get. Other events are passed over.
  bool poll_for_signal(int signal);
  void stop_again(const sys::Deadline& deadline);  // request_stop + wait; must not be gone
  // Of one that runs: waits until it stands because it has made a process, which is our tracee then; its number. Only
  // with sys::kTraceClone. nullopt: not before the deadline.
  std::optional<HostTid> await_birth(const sys::Deadline& deadline);

  uint64_t options() const { return options_; }  // PTRACE_O_*
  void set_options(uint64_t options);            // must be stopped

  const sys::Registers& frame() const { return frame_; }  // the registers it was stopped with
  void set_frame(const sys::Registers& frame) { frame_ = frame; }
  uint64_t mask() const { return mask_; }  // the signal mask it was stopped with
  void remember();                         // reads frame and mask
  // Marks the thread as borrowed: the destructor puts frame and mask back before it lets go.
  void borrow() { borrowed_ = true; }
  void give_back();  // frame and mask as remembered; must be stopped

  void detach();                    // now, with errors; the destructor does it without
  void abandon() { gone_ = true; }  // it is being killed: nothing to undo

 private:
  Tracee(HostTid tid, uint64_t options, Damage& damage) : tid_(tid), damage_(damage), options_(options) {}
  std::optional<sys::StopEvent> await(const sys::Deadline& deadline);
  template <typename IsMeant>
  void run_for_us(bool (*resume)(HostTid, int), const IsMeant& is_meant, const sys::Deadline& deadline);
  void release() noexcept;
  bool take(const sys::StopEvent& event);
  bool has_ended_or_stands();
  void deliver_and_stop(int signal, const sys::Deadline& deadline);
  int stop_to_deliver(const sys::StopEvent& event);  // SIGSTOP, or 0

  HostTid tid_;
  Damage& damage_;
  sys::Registers frame_{};
  uint64_t mask_ = 0, options_ = 0;
  int stop_signal_ = 0;
  bool stopped_ = false, gone_ = false, group_stopped_ = false, borrowed_ = false;
  bool obeys_stops_ = true, met_stop_ = false;
};

// Whether the thread has ended, or SIGKILL has reached it, so that it ends without doing anything more. Reads /proc.
bool is_dying(HostTid tid);

}  // namespace mcr::trace
