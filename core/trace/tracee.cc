#include "core/trace/tracee.h"

#include <signal.h>

#include <algorithm>
#include <system_error>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/procfs/maps.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"

namespace mcr::trace {

using sys::StopEvent;

namespace {

// ": it is in state D, in vfork" as far as /proc says it.
std::string describe_wait(HostTid tid) {
  const auto stat = sys::try_read_text(fmt::format("/proc/{}/stat", tid));
  const auto call = sys::try_read_text(fmt::format("/proc/{}/syscall", tid));
  auto place = sys::try_read_text(fmt::format("/proc/{}/wchan", tid));
  if (!stat) return {};
  std::string text = fmt::format(": it is in state {}", procfs::parse_stat(*stat).state);
  if (call && !call->starts_with("running") && !call->starts_with("-1"))
    text += fmt::format(", in system call {}", call->substr(0, call->find(' ')));
  if (place && !place->empty() && *place != "0") text += fmt::format(", waiting in {}", *place);
  const bool makes_process =
      call && (call->starts_with("56 ") || call->starts_with("58 ") || call->starts_with("435 "));
  if (makes_process && procfs::parse_stat(*stat).state == 'D')
    text += "; it has made a child with vfork, and waits until that executes a program or ends";
  return text;
}

// In the kernel with a page that a userfaultfd's handler has to bring, a thread is in state R, and stops for nobody.
bool waits_for_handler(HostTid tid) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/smaps", tid));
  const auto is_watched = [](const procfs::Mapping& m) { return m.has_flag("um") || m.has_flag("ui"); };
  return text && std::ranges::any_of(procfs::parse_smaps(*text), is_watched);
}

constexpr char kNoState = 0;

char state_of(HostTid tid) {
  const auto stat = sys::try_read_text(fmt::format("/proc/{}/stat", tid));
  return stat ? procfs::parse_stat(*stat).state : kNoState;
}

// Sent by the kernel to the thread that has executed the instruction.
bool is_fault(int signal) {
  return signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE;
}

}  // namespace

bool is_dying(HostTid tid) {
  constexpr uint32_t kExiting = 4;  // PF_EXITING: set before it gives up anything
  constexpr uint64_t kKill = 1ULL << (SIGKILL - 1);
  const auto stat = sys::try_read_text(fmt::format("/proc/{}/stat", tid));
  const auto text = sys::try_read_text(fmt::format("/proc/{}/status", tid));
  if (!stat || !text) return true;
  const procfs::Stat now = procfs::parse_stat(*stat);
  if (now.state == 'Z' || now.state == 'X' || (now.flags & kExiting) != 0) return true;
  const procfs::Status status = procfs::parse_status(*text);
  return ((status.sig_pending | status.shared_pending) & kKill) != 0;
}

std::unique_ptr<Tracee> Tracee::seize(HostTid tid, uint64_t options, Damage& damage) {
  if (!sys::seize(tid, options)) return nullptr;
  auto tracee = std::unique_ptr<Tracee>(new Tracee(tid, options, damage));
  tracee->obeys_stops_ = (options & sys::kExitKill) == 0;
  return tracee;
}

std::unique_ptr<Tracee> Tracee::adopt(HostTid tid, uint64_t options, Damage& damage) {
  return std::unique_ptr<Tracee>(new Tracee(tid, options, damage));
}

Tracee::~Tracee() {
  if (!gone_) release();
}

// A destructor must not throw: what cannot be undone is recorded as damage.
void Tracee::release() noexcept {
  try {
    if (!stopped_) {
      // It cannot be let go before it stops, and does not stop before what it waits for has happened: our end lets it
      // go, with nothing changed.
      if (!borrowed_ && state_of(tid_) == 'D') return;
      if (!has_ended_or_stands() &&
          (!request_stop() || !wait_until_stopped(sys::Clock::now() + std::chrono::seconds(5))))
        return;
      if (gone_) return;
    }
    if (borrowed_) give_back();
    detach();
  } catch (const std::exception& e) {
    if (is_dying(tid_)) return;
    damage_.record(fmt::format("thread {} could not be released: {}", tid_, e.what()));
    log::error("trace", "thread {} could not be released: {}", tid_, e.what());
  }
}

bool Tracee::request_stop() {
  if (!sys::interrupt(tid_)) gone_ = true;
  return !gone_;
}

std::optional<StopEvent> Tracee::await(const sys::Deadline& deadline) {
  auto event = sys::wait_stop(tid_, deadline);
  if (!event) return event;
  if (event->kind == StopEvent::Kind::ended) gone_ = true;
  stopped_ = !gone_;
  return event;
}

// SIGSTOP cannot be blocked. Given on, it is kept by the kernel: the process is stopped as soon as it is let go, unless
// SIGCONT comes first; meanwhile its threads run for us all the same. One that is being built is not yet anybody's to
// stop.
int Tracee::stop_to_deliver(const StopEvent& event) {
  if (event.kind != StopEvent::Kind::signal || event.signal != SIGSTOP || !obeys_stops_) return 0;
  met_stop_ = true;
  return SIGSTOP;
}

void Tracee::throw_late() const {
  if (waits_for_handler(tid_))
    throw Error(
        Fault::timeout,
        fmt::format("thread {} did not stop in time{}; a userfaultfd's handler has not brought all of its memory", tid_,
                    describe_wait(tid_)),
        "after restore --lazy-pages wait until mini-criu-lazy has brought all of it, and see that it is not stopped");
  throw Error(Fault::timeout, fmt::format("thread {} did not stop in time{}", tid_, describe_wait(tid_)),
              "in state D it stops when what it waits for has happened: try again later, or raise --timeout");
}

// true: it stands, or is gone.
bool Tracee::take(const StopEvent& event) {
  gone_ = event.kind == StopEvent::Kind::ended;
  stopped_ = event.kind == StopEvent::Kind::trap || event.kind == StopEvent::Kind::group_stop;
  if (gone_ || event.kind == StopEvent::Kind::trap) return true;
  if (event.kind == StopEvent::Kind::group_stop) {
    group_stopped_ = true;
    stop_signal_ = event.signal;
  } else if (event.kind == StopEvent::Kind::signal) {
    // It was on its way to us before the interrupt took effect: hand it on, the trap follows.
    stop_to_deliver(event);
    sys::resume(tid_, event.signal);
  } else if (sys::interrupt(tid_)) {  // a stop at the end of a call uses up the request that has ended the call
    sys::resume(tid_);
  }
  return stopped_;  // that it has ended, its next event says
}

// The end of a leader is reported when that of all other threads was collected, and not before (kernel/exit.c,
// delay_group_leader). A stop is that of a thread which has its number since the look, by execve(2).
bool Tracee::has_ended_or_stands() {
  const char state = state_of(tid_);
  if (state != kNoState && state != 'Z' && state != 'X') return false;
  if (const auto event = sys::poll_stop(tid_); event && event->kind != StopEvent::Kind::ended) return take(*event);
  stopped_ = false;
  return gone_ = true;
}

bool Tracee::wait_a_while(const sys::Deadline& until) {
  while (const auto event = await(until))
    if (take(*event)) return true;
  return has_ended_or_stands();
}

bool Tracee::wait_until_stopped(const sys::Deadline& deadline) {
  constexpr auto kWhile = std::chrono::milliseconds(10);
  for (;;) {
    const auto until = sys::Clock::now() + kWhile;
    if (wait_a_while(deadline ? std::min(until, *deadline) : until)) return !gone_;
    if (deadline && sys::Clock::now() >= *deadline) throw_late();
  }
}

void Tracee::ask_to_stop() {
  stopped_ = false;
  sys::interrupt(tid_);
}

void Tracee::note_event() {
  if (const auto event = sys::poll_stop(tid_)) take(*event);
}

bool Tracee::stands_still() {
  if (gone_ || !stopped_) return false;
  try {
    remember();
    return true;
  } catch (const Error& error) {
    if (error.code() != static_cast<int>(std::errc::no_such_process)) throw;
  }
  ask_to_stop();
  return false;
}

void Tracee::run_to_syscall_border(const sys::Deadline& deadline) {
  run_for_us(
      sys::resume_to_syscall, [](const StopEvent& event) { return event.kind == StopEvent::Kind::syscall; }, deadline);
}

void Tracee::run_to_signal(int signal, const sys::Deadline& deadline) {
  const auto is_meant = [&](const StopEvent& event) {
    return event.kind == StopEvent::Kind::signal && event.signal == signal;
  };
  run_for_us(sys::resume, is_meant, deadline);
}

// All signals are blocked while it runs for us, but for one at most that means nothing to the program; what is left are
// SIGSTOP, group stops and our own late traps. And what an instruction has brought about, which it would do again and
// again.
template <typename IsMeant>
void Tracee::run_for_us(bool (*resume)(HostTid, int), const IsMeant& is_meant, const sys::Deadline& deadline) {
  for (int signal = 0;;) {
    stopped_ = false;
    if (!resume(tid_, signal)) gone_ = true;
    const auto event = gone_ ? std::nullopt : await(deadline);
    if (gone_) throw Error(Fault::system, fmt::format("thread {} was killed meanwhile", tid_));
    if (!event) throw Error(Fault::timeout, fmt::format("thread {} did not reach its system call in time", tid_));
    if (is_meant(*event)) return;
    signal = stop_to_deliver(*event);
    if (event->kind == StopEvent::Kind::signal && signal == 0 && is_fault(event->signal))
      throw Error(Fault::internal, fmt::format("thread {} has met signal {} at {:#x}, where it runs for mini-criu",
                                               tid_, event->signal, sys::get_registers(tid_).rip));
    if (deadline && sys::Clock::now() > *deadline)
      throw Error(Fault::timeout, fmt::format("thread {} did not reach its system call in time", tid_));
  }
}

bool Tracee::keep_running(bool& met) {
  const auto event = sys::poll_stop(tid_);
  met = event.has_value();
  if (!event) return true;
  if (event->kind == StopEvent::Kind::ended) return false;
  if (event->kind == StopEvent::Kind::signal && is_fault(event->signal))
    throw Error(Fault::internal, fmt::format("thread {} has met signal {} at {:#x}, where it runs for mini-criu", tid_,
                                             event->signal, sys::get_registers(tid_).rip));
  sys::resume(tid_, stop_to_deliver(*event));
  return true;
}

void Tracee::run() {
  stopped_ = false;
  if (!sys::resume(tid_)) {
    gone_ = true;
    throw Error(Fault::system, fmt::format("thread {} was killed meanwhile", tid_));
  }
}

void Tracee::run_into_group_stop(const sys::Deadline& deadline) {
  for (int signal = 0;;) {
    stopped_ = false;
    if (!sys::resume(tid_, signal)) gone_ = true;
    const auto event = gone_ ? std::nullopt : await(deadline);
    if (gone_) throw Error(Fault::system, fmt::format("thread {} was killed meanwhile", tid_));
    if (!event) throw Error(Fault::timeout, fmt::format("thread {} was not stopped in time", tid_));
    if (event->kind == StopEvent::Kind::group_stop) return;
    signal = event->kind == StopEvent::Kind::signal && event->signal == SIGSTOP ? SIGSTOP : 0;
  }
}

bool Tracee::run_into_call(const sys::Deadline& deadline) {
  for (;;) {
    stopped_ = false;
    if (!sys::resume_to_syscall(tid_)) gone_ = true;
    const auto event = gone_ ? std::nullopt : await(deadline);
    if (gone_) throw Error(Fault::system, fmt::format("thread {} was killed meanwhile", tid_));
    if (!event) throw Error(Fault::timeout, fmt::format("thread {} did not make its call again in time", tid_));
    if (event->kind == StopEvent::Kind::syscall) break;
    stop_to_deliver(*event);
    if (event->kind != StopEvent::Kind::signal) continue;
    deliver_and_stop(event->signal, deadline);
    return false;
  }
  stopped_ = false;
  if (!sys::resume_to_syscall(tid_)) gone_ = true;
  return true;
}

// The request comes before it goes on: then it stops again before it runs an instruction, of the handler for one.
void Tracee::deliver_and_stop(int signal, const sys::Deadline& deadline) {
  const bool was_group_stopped = group_stopped_;
  stopped_ = false;
  if (!request_stop() || !sys::resume(tid_, signal) || !wait_until_stopped(deadline))
    throw Error(Fault::system, fmt::format("thread {} was killed meanwhile", tid_));
  group_stopped_ = was_group_stopped;
}

bool Tracee::poll_for_signal(int signal) {
  const auto event = sys::poll_stop(tid_);
  if (!event) return false;
  if (event->kind == StopEvent::Kind::ended) {
    gone_ = true;
    throw Error(Fault::system, fmt::format("thread {} was killed meanwhile", tid_));
  }
  if (event->kind == StopEvent::Kind::signal && event->signal == signal) return stopped_ = true;
  stop_to_deliver(*event);
  sys::resume(tid_, event->kind == StopEvent::Kind::signal ? event->signal : 0);
  return false;
}

void Tracee::stop_again(const sys::Deadline& deadline) {
  if (stopped_) return;
  const bool was_group_stopped = group_stopped_;
  // It may stand already: a thread of a stopped process stops twice, for being seized and for our interrupt.
  if (const auto event = sys::poll_stop(tid_)) {
    gone_ = event->kind == StopEvent::Kind::ended;
    stopped_ = !gone_ && (event->kind == StopEvent::Kind::trap || event->kind == StopEvent::Kind::group_stop);
    if (stopped_) return;
    stop_to_deliver(*event);
    // The request comes before it goes on: then it stops again before it runs an instruction.
    if (!gone_ && request_stop()) sys::resume(tid_, event->kind == StopEvent::Kind::signal ? event->signal : 0);
  } else {
    request_stop();
  }
  if (gone_ || !wait_until_stopped(deadline))
    throw Error(Fault::system, fmt::format("thread {} was killed meanwhile", tid_));
  group_stopped_ = was_group_stopped;
}

std::optional<HostTid> Tracee::await_birth(const sys::Deadline& deadline) {
  while (const auto event = await(deadline)) {
    if (gone_) throw Error(Fault::system, fmt::format("thread {} was killed meanwhile", tid_));
    if (event->kind == StopEvent::Kind::event && event->event == sys::kEventClone)
      return HostTid(static_cast<pid_t>(sys::get_event_message(tid_)));
    stopped_ = false;
    sys::resume(tid_, stop_to_deliver(*event));
  }
  return std::nullopt;
}

void Tracee::set_options(uint64_t options) {
  sys::set_options(tid_, options);
  options_ = options;
}

void Tracee::remember() {
  frame_ = sys::get_registers(tid_);
  mask_ = sys::get_signal_mask(tid_);
}

// Mask before registers: until the registers are back, the cave would put the mask back by itself.
void Tracee::give_back() {
  sys::set_signal_mask(tid_, mask_);
  sys::set_registers(tid_, frame_);
  borrowed_ = false;
}

void Tracee::detach() {
  if (!sys::detach(tid_)) log::debug("trace", "thread {} ended before it was released", tid_);
  gone_ = true;
}

}  // namespace mcr::trace
