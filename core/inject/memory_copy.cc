#include "core/inject/memory_copy.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <system_error>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"

namespace mcr::inject {
namespace {

constexpr uint64_t kCloneMemory = 0x100, kCloneFiles = 0x400;  // CLONE_VM, CLONE_FILES; no signal at the end of either

sys::Deadline soon() {
  return sys::Clock::now() + std::chrono::seconds(10);
}

// A new process that is our tracee; ended by the destructor unless it was let go.
class Newborn {
 public:
  explicit Newborn(HostTid tid) : tid_(tid) {}
  ~Newborn() {
    if (!held_) return;
    try {
      end();
    } catch (const std::exception& e) {
      log::warning("inject", "process {} could not be ended: {}", tid_, e.what());
    }
  }
  Newborn(const Newborn&) = delete;
  Newborn& operator=(const Newborn&) = delete;

  HostTid tid() const { return tid_; }
  void let_go() { held_ = false; }

  void await_first_stop() {
    for (;;) {
      const auto event = next();
      if (event.kind == sys::StopEvent::Kind::trap) return;
      if (event.kind == sys::StopEvent::Kind::ended) lost();
      sys::resume(tid_);
    }
  }

  // nullopt: it has ended, with `status`. Signals from outside are not meant for it.
  std::optional<HostTid> await_child(int& status) {
    for (;;) {
      sys::resume(tid_);
      const auto event = next();
      if (event.kind == sys::StopEvent::Kind::event && event.event == sys::kEventClone)
        return HostTid(static_cast<pid_t>(sys::get_event_message(tid_)));
      if (event.kind != sys::StopEvent::Kind::ended) continue;
      held_ = false;
      status = event.signal;
      return std::nullopt;
    }
  }

  void end() {
    held_ = false;
    sys::try_kill(HostPid(tid_.get()), SIGKILL);
    while (next().kind != sys::StopEvent::Kind::ended) sys::resume(tid_);
  }

 private:
  sys::StopEvent next() {
    const auto event = sys::wait_stop(tid_, soon());
    if (!event) throw Error(Fault::timeout, fmt::format("process {} did not stop in time", tid_));
    return *event;
  }
  [[noreturn]] void lost() {
    held_ = false;
    throw Error(Fault::system, fmt::format("process {} was killed meanwhile", tid_));
  }

  HostTid tid_;
  bool held_ = true;
};

// For as long as the host makes the processes; they have its options.
class BirthsWatched {
 public:
  explicit BirthsWatched(trace::Tracee& host) : host_(host), before_(host.options()) {
    host_.stop_again(soon());
    host_.set_options(before_ | sys::kTraceClone);
    host_.run();
  }
  ~BirthsWatched() {
    if (host_.options() == before_ || host_.gone()) return;
    try {
      host_.stop_again(soon());
      end();
      host_.run();
    } catch (const std::exception& e) {
      log::warning("inject", "thread {}: {}", host_.tid(), e.what());
    }
  }
  BirthsWatched(const BirthsWatched&) = delete;
  BirthsWatched& operator=(const BirthsWatched&) = delete;
  void end() { host_.set_options(before_); }  // it stands

 private:
  trace::Tracee& host_;
  const uint64_t before_;
};

// nullopt: there is none, and the batch is done.
std::optional<HostTid> await_maker(Channel& channel, trace::Tracee& host) {
  const auto give_up = soon();
  while (sys::Clock::now() < *give_up) {
    if (const auto maker = host.await_birth(sys::Clock::now() + std::chrono::milliseconds(20))) return maker;
    if (channel.has_answer()) return std::nullopt;
  }
  throw Error(Fault::timeout, "the parasite did not make a process in time");
}

std::string text_of(int code) {
  return std::generic_category().message(code);
}

// Makes the copy and lets its maker end; nullptr: the maker could not.
std::unique_ptr<Newborn> await_copy(HostTid maker_tid, std::string& why) {
  Newborn maker(maker_tid);
  maker.await_first_stop();
  int status = 0;
  const auto tid = maker.await_child(status);
  if (!tid) {
    why = WIFEXITED(status) ? text_of(WEXITSTATUS(status)) : "it was killed";
    return nullptr;
  }
  auto copy = std::make_unique<Newborn>(*tid);
  copy->await_first_stop();
  sys::set_options(*tid, sys::kExitKill);
  if (maker.await_child(status)) throw Error(Fault::internal, "a copy of the memory was made twice");
  return copy;
}

// Reading from it is all that is wanted: of all processes it is the one to go when memory is short.
void offer_to_oom_killer(HostPid pid) {
  try {
    sys::write_file(fmt::format("/proc/{}/oom_score_adj", pid), "1000");
  } catch (const Error& error) {
    log::debug("inject", "{}", error.what());
  }
}

}  // namespace

std::unique_ptr<MemoryCopy> MemoryCopy::make(ParasiteSession& session, trace::Tracee& host, std::string& why) {
  const Step step("copy the memory");
  Channel& channel = session.channel();
  Batch batch = channel.batch();
  const size_t call = batch.add("clone", SYS_clone, {kCloneMemory | kCloneFiles, 0, 0, 0, 0, kCloneFiles},
                                parasite::kCopyMemory | parasite::kMayFail);
  std::unique_ptr<Newborn> copy;
  {
    BirthsWatched births(host);
    channel.start(batch);
    if (const auto maker = await_maker(channel, host)) {
      births.end();
      host.run();
      copy = await_copy(*maker, why);
    }
    channel.finish(batch);
  }
  if (!copy) {
    if (why.empty()) why = text_of(static_cast<int>(-batch.result(call)));
    return nullptr;
  }
  auto made = std::unique_ptr<MemoryCopy>(new MemoryCopy(HostPid(copy->tid().get())));
  copy->let_go();
  offer_to_oom_killer(made->pid());
  return made;
}

MemoryCopy::~MemoryCopy() {
  if (!has_ended_) const Newborn ending(HostTid(pid_.get()));
}

// SIGKILL wakes it whatever it stands in; until it has run, it is pending.
bool MemoryCopy::is_whole() const {
  if (has_ended_) return false;
  if (const auto event = sys::poll_stop(HostTid(pid_.get()))) {
    has_ended_ = event->kind == sys::StopEvent::Kind::ended;
    return false;
  }
  const auto text = sys::try_read_text(fmt::format("/proc/{}/status", pid_));
  if (!text) return false;
  const auto status = procfs::parse_status(*text);
  return status.state == 't' && ((status.sig_pending | status.shared_pending) >> (SIGKILL - 1) & 1) == 0;
}

}  // namespace mcr::inject
