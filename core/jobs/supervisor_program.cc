// The program of a job: started, adopted, its end, its return after a crash.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/jobs/checkpoints.h"
#include "core/jobs/line.h"
#include "core/jobs/outcome.h"
#include "core/jobs/output_log.h"
#include "core/jobs/program.h"
#include "core/jobs/supervisor.h"
#include "core/jobs/terminal.h"
#include "core/procfs/status.h"
#include "core/sys/child.h"
#include "core/sys/ended_process.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/trace/frozen_tree.h"

namespace mcr::jobs {
namespace {

constexpr int kLongestDump = 5'000,
              kLongestRestore = 600'000;  // milliseconds that an engine of a former supervisor gets

// The program's side: waits until its pid is written down. Should the supervisor end before, nothing was started.
int wait_and_become(int gate, int failure, const sys::ProgramPlace& place) {
  char byte = 0;
  if (sys::read_some(gate, &byte, 1) != 1) return 0;
  try {
    sys::become_session_program(place);
  } catch (const Error& error) {
    sys::write_text(failure, error.reason());
    return 127;
  }
}

sys::ProgramPlace place_of(const job::Config& config, int output, int terminal) {
  sys::ProgramPlace place;
  place.command = {config.command().begin(), config.command().end()};
  // Not the marks of another job, whose program or push has started this one.
  constexpr const char* kMarks[] = {"MINI_CRIU_TOKEN=", "MINI_CRIU_JOB=", "MINI_CRIU_IMAGE="};
  for (const std::string& variable : config.environment())
    if (std::ranges::none_of(kMarks, [&](const char* mark) { return variable.starts_with(mark); }))
      place.environment.push_back(variable);
  place.environment.push_back("MINI_CRIU_JOB=" + config.id());
  place.environment.push_back(mark_of(config.token()));
  place.folder = config.folder();
  place.output = output, place.terminal = terminal;
  return place;
}

job::Outcome failed_start(const std::string& reason, const std::string& remedy) {
  job::Outcome outcome;
  outcome.set_reason(reason);
  outcome.set_remedy(remedy);
  outcome.set_fault("refused");
  return outcome;
}

// Process 1 of a pid namespace that a restore without rights has made ends by itself (docs/architecture.md).
bool is_first_of_namespace(HostPid pid) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/status", pid));
  if (!text) return true;
  const auto status = procfs::parse_status(*text);
  return status.ns_pid.size() > 1 && status.ns_pid.back() == 1;
}

std::string describe(const sys::ChildChange& change) {
  if (change.what == sys::ChildChange::What::killed)
    return fmt::format("by signal {}", sys::signal_name(change.number));
  return fmt::format("with status {}", change.number);
}

sys::ChildChange change_of_status(int status) {
  if (WIFSIGNALED(status)) return {sys::ChildChange::What::killed, WTERMSIG(status)};
  return {sys::ChildChange::What::exited, WEXITSTATUS(status)};
}

// Somebody else's child tells its status while it is a zombie (proc(5), exit_code), and by its pidfd when it has been
// collected (6.15). nullopt: it was collected in between, or on an older kernel.
std::optional<sys::ChildChange> end_of_adopted(const job::State& state, int pidfd) {
  for (int attempt = 0; attempt < 50; ++attempt) {
    if (const auto status = sys::exit_status_of(pidfd)) return change_of_status(*status);
    if (const auto status = zombie_status(state)) return change_of_status(*status);
    sys::wait_any_readable({}, 10);
  }
  return std::nullopt;
}

bool is_crash(const std::optional<sys::ChildChange>& change) {
  return change && (change->what == sys::ChildChange::What::killed || change->number != 0);
}

}  // namespace

job::Outcome Supervisor::start_program() {
  if (config_.terminal()) wait_for_former_keeper(job_);
  OutputTakenBack(job_, state_.line(), 0, 0).keep();  // of an earlier start
  state_.mutable_line()->Clear();
  const UniqueFd output = open_output(job_);
  sys::Pty pty;
  if (config_.terminal()) {
    pty = sys::make_pty();
    sys::set_window_size(pty.master.get(), {24, 80, 0, 0});  // until somebody attaches
    keeper_ = start_keeper(job_, pty.master.get());
  }
  sys::Pipe gate = sys::make_pipe(O_CLOEXEC), failure = sys::make_pipe(O_CLOEXEC);
  const int kept[] = {gate.read_end.get(), failure.write_end.get(), output.get(), pty.slave.get()};
  const sys::ProgramPlace place = place_of(config_, output.get(), pty.slave.get());
  const HostPid pid = sys::start_child(kept, [&] { return wait_and_become(kept[0], kept[1], place); });
  gate.read_end.reset(), failure.write_end.reset();
  UniqueFd pidfd = sys::open_pidfd(pid);
  note_program(state_, pid);
  state_.set_status(job::State::RUNNING);
  state_.clear_resumed_from();
  const bool saved = save();
  if (saved) sys::write_text(gate.write_end.get(), "g");
  gate.write_end.reset();
  std::string reason(4096, '\0');
  reason.resize(sys::read_some(failure.read_end.get(), reason.data(), reason.size()));  // its end: the program runs
  if (saved && reason.empty()) {
    watch(pid, std::move(pidfd), true);
    job_.note(fmt::format("started as pid {}", pid));
    job::Outcome outcome;
    outcome.set_ok(true);
    return outcome;
  }
  sys::wait_readable(pidfd.get(), -1);
  sys::collect_ended(pid);
  state_.set_status(job::State::ENDED);
  forget_program(state_);
  save();
  if (!saved) return failed_start("the state of the job cannot be written", "see that its folder can be written to");
  job_.note(reason);
  return failed_start(reason, "check the command; a program outside of PATH needs its path");
}

job::Outcome Supervisor::start_or_tell() {
  try {
    refuse_survivors();
    return start_program();
  } catch (const Error& error) {
    forget_program(state_);
    state_.set_status(job::State::ENDED);
    return outcome_of(error);
  }
}

void Supervisor::watch(HostPid pid, UniqueFd pidfd, bool is_child) {
  program_ = std::move(pidfd);
  is_child_ = is_child;
  state_.set_pid(pid.get());
  state_.clear_end_known(), state_.clear_exit_code(), state_.clear_signal();
  schedule();
}

bool Supervisor::adopt() {
  // What a former supervisor had begun comes to its end by itself. A restore must be waited for: its program has no
  // other owner. A dump may take long (a file system that hangs), and the program is to be looked after meanwhile.
  const bool is_resuming = state_.status() == job::State::RESUMING;
  const bool is_at_rest = EngineCall::wait_for_former(job_, is_resuming ? kLongestRestore : kLongestDump);
  if (is_resuming && !is_at_rest)
    throw Error(Fault::timeout, "a resume that an earlier supervisor has begun does not come to its end",
                fmt::format("see {}; end that process of mini-criu", job_.file("restore.log")));
  const auto stored = checkpoints_of(job_);
  if (!stored.empty()) state_.set_next_number(std::max(state_.next_number(), stored.back().number + 1));
  if (is_at_rest) remove_remains(job_);
  if (is_at_rest) take_up_unheard(state_, stored);
  if (state_.status() == job::State::RESUMING) adopt_interrupted_resume();
  if (auto pidfd = open_program(state_)) {
    state_.set_status(job::State::RUNNING);
    watch(HostPid(state_.pid()), std::move(*pidfd), false);
    job_.note(fmt::format("the supervisor had ended; another one has adopted pid {}", state_.pid()));
    if (is_at_rest) state_.clear_stopping();
    save();
    return true;
  }
  const bool was_stopped = was_stopped_by_checkpoint(state_, stored);
  if (state_.status() == job::State::STARTING)
    state_.set_last_error("it was never started: its supervisor ended before");
  // Between the checkpoint that a resume goes back to and the end of its program nothing was lost.
  if (state_.status() == job::State::RESUMING && !stored.empty())
    state_.set_status(job::State::STOPPED);
  else
    state_.set_status(was_stopped ? job::State::STOPPED : job::State::LOST);
  state_.clear_stopping();
  forget_program(state_);
  job_.note(was_stopped ? "the supervisor had ended; the checkpoint and the stop were completed"
                        : "the supervisor had ended, and the program has ended since");
  return false;
}

// A restore that the supervisor did not live to hear of.
void Supervisor::adopt_interrupted_resume() {
  if (const auto pid = find_marked(config_.token(), state_.resume_began())) note_program(state_, *pid);
}

std::vector<HostPid> Supervisor::strays() const {
  std::vector<HostPid> found;
  for (const HostPid child : trace::children_of(sys::own_pid())) {
    if (engine_ && child == engine_->pid()) continue;
    if (program_.valid() && child.get() == state_.pid()) continue;
    if ((push_ && child == push_->pid()) || is_of_push(child) || child == keeper_) continue;
    found.push_back(child);
  }
  return found;
}

void Supervisor::collect_strays() {
  for (const HostPid stray : strays()) sys::collect_ended(stray);
  if (keeper_ && sys::collect_ended(*keeper_)) keeper_.reset();
}

void Supervisor::look_at_program() {
  if (!program_.valid() || engine_ || !(sys::poll_now(program_.get(), POLLIN) & POLLIN)) return;
  const auto change = is_child_ ? sys::collect_ended(HostPid(state_.pid())) : end_of_adopted(state_, program_.get());
  program_ended(change);
}

void Supervisor::program_ended(const std::optional<sys::ChildChange>& change) {
  // By a checkpoint of this supervisor, or of one that has ended before it was whole.
  if (const auto stored = checkpoints_of(job_); was_stopped_by_checkpoint(state_, stored)) {
    take_up_unheard(state_, stored);
    job_.note("the checkpoint of an earlier supervisor has ended the program, as asked for");
    note_stopped();
    state_.clear_stopping();
    return;
  }
  program_.reset();
  state_.set_status(job::State::ENDED);
  state_.set_end_known(change.has_value());
  if (change) {
    const bool killed = change->what == sys::ChildChange::What::killed;
    state_.set_exit_code(killed ? 0 : change->number);
    state_.set_signal(killed ? change->number : 0);
  }
  forget_program(state_);
  const std::string how = change ? describe(*change) : "and how is not known";
  job_.note("the program has ended " + how);
  for (const HostPid stray : strays())
    if (!is_first_of_namespace(stray)) job_.note(fmt::format("it has left process {} behind, which goes on", stray));
  next_checkpoint_.reset(), stop_at_.reset();
  if (!is_crash(change) || state_.restarts_used() >= config_.restarts()) {
    done_ = true;
    return;
  }
  constexpr uint32_t kMostDoublings = 6;
  const auto pause = std::chrono::seconds(1U << std::min(state_.restarts_used(), kMostDoublings));
  state_.set_restarts_used(state_.restarts_used() + 1);
  restart_at_ = Clock::now() + pause;
  // Whatever becomes of us now, the state is one that can be resumed.
  state_.set_last_error(fmt::format("it ended {}; restart {} of {}", how, state_.restarts_used(), config_.restarts()));
  state_.set_last_error_unix_ms(now_unix_ms());
  job_.note(fmt::format("restart {} of {} in {} s", state_.restarts_used(), config_.restarts(), pause.count()));
  save();
}

void Supervisor::begin_restart() {
  restart_at_.reset();
  end_strays();  // what the crash has left behind would be in the way of the same once more
  const auto number = last_of_line(state_, checkpoints_of(job_), restart_before_);
  if (number) return begin_resume(*number, engine::FileValidation::buildid);
  if (has_had_checkpoints(job_)) {  // what it has done since its start is not to be done once more
    job::Outcome none;
    none.set_reason("none of its checkpoints can be restored, and it is not started anew");
    none.set_remedy("mini-criu verify says what is wrong with them; resume --from N takes another one");
    failed(none, "the restart");
    done_ = true;
    save();
    return;
  }
  job_.note("there is no checkpoint to go back to: it starts anew");
  const job::Outcome outcome = start_or_tell();
  if (state_.status() == job::State::RUNNING) return;
  failed(outcome, "the restart");
  done_ = true;
}

// What members of the tree had started are our children when their parents have ended.
void Supervisor::end_strays() {
  for (int round = 0; round < 100; ++round) {
    bool is_left = false;
    for (const HostPid stray : strays()) {
      if (sys::collect_ended(stray)) continue;
      is_left = sys::try_kill(stray, SIGKILL) || is_left;  // our child, not collected: the number is still its own
    }
    if (!is_left) break;
    sys::wait_any_readable({}, 2);
  }
}

// All processes of the tree are held by pidfds before the first is ended, so that no number is met by another process.
void Supervisor::end_program() {
  if (engine_) return engine_->kill();  // and again when it has ended
  restart_at_.reset();
  if (program_.valid()) {
    std::vector<UniqueFd> tree;
    for (const HostPid pid : trace::tree_of(HostPid(state_.pid())))
      if (auto pidfd = sys::try_open_pidfd(pid)) tree.push_back(std::move(*pidfd));
    sys::signal_by_pidfd(program_.get(), SIGKILL);
    for (const UniqueFd& pidfd : tree) sys::signal_by_pidfd(pidfd.get(), SIGKILL);
    sys::wait_readable(program_.get(), -1);
    look_at_program();
    restart_at_.reset();
  }
  end_strays();
  job_.note("ended without a checkpoint, as asked for");
  save();  // whoever hears of it may resume the job at once
  job::Outcome outcome;
  outcome.set_ok(true);
  answer(wanted_.connections, outcome);
  wanted_ = {};
  done_ = true;
}

}  // namespace mcr::jobs
