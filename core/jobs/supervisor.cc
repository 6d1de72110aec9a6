#include "core/jobs/supervisor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/jobs/checkpoints.h"
#include "core/jobs/line.h"
#include "core/jobs/outcome.h"
#include "core/jobs/program.h"
#include "core/sys/child.h"
#include "core/sys/file.h"

namespace mcr::jobs {

using std::chrono::milliseconds;

Supervisor::Supervisor(JobFolder job, UniqueFd lock)
    : job_(std::move(job)), lock_(std::move(lock)), config_(job_.config()), state_(job_.state()) {
  sys::become_subreaper();
  std::vector<int> taken = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE};
  taken.insert(taken.end(), config_.on_signal().begin(), config_.on_signal().end());
  signals_ = sys::receive_signals(taken);
  control_.emplace(job_);
  state_.set_supervisor(sys::own_pid().get());
}

void Supervisor::say_ready(const job::Outcome& outcome) {
  if (!ready_.valid()) return;
  try {
    sys::write_text(ready_.get(), outcome.SerializeAsString());
  } catch (const Error&) {  // whoever asked has ended
  }
  ready_.reset();
}

void Supervisor::run(const Task& task, UniqueFd ready) {
  ready_ = std::move(ready);
  try {
    begin(task);
    begin_pushes();
    while (!done_) serve();
    if (is_pushing()) save();  // that may take its time
    while (is_pushing()) serve();
  } catch (const std::exception& error) {
    // The program goes on, and whoever looks at the job next adopts it.
    job_.note(fmt::format("the supervisor ends: {}", error.what()));
  }
  finish();
}

void Supervisor::begin(const Task& task) {
  job::Outcome outcome;
  outcome.set_ok(true);
  switch (task.what) {
    case Task::What::start:
      outcome = start_or_tell();
      done_ = !outcome.ok();
      break;
    case Task::What::resume:
      return begin_resume(task.number, task.validation);  // says itself when it is ready
    case Task::What::adopt:
      done_ = !adopt();
      break;
  }
  outcome.set_pid(state_.pid());
  if (done_) save();  // whoever hears of it reads the state
  say_ready(outcome);
}

void Supervisor::schedule() {
  next_checkpoint_.reset(), stop_at_.reset();
  if (config_.every_ms() > 0) next_checkpoint_ = Clock::now() + milliseconds(config_.every_ms());
  if (config_.after_ms() > 0) stop_at_ = Clock::now() + milliseconds(config_.after_ms());
}

int Supervisor::milliseconds_to_wait() const {
  constexpr int64_t kLongest = 3'600'000, kRetry = 1000;
  int64_t wait = unsaved_ ? kRetry : kLongest;
  for (const Moment& moment : {engine_ ? Moment() : next_checkpoint_, engine_ ? Moment() : stop_at_, restart_at_,
                               engine_ ? engine_deadline_ : Moment(), push_ ? push_->deadline() : Moment()})
    if (moment) wait = std::min(wait, std::chrono::ceil<milliseconds>(*moment - Clock::now()).count());
  return static_cast<int>(std::max<int64_t>(wait, 0));
}

void Supervisor::serve() {
  std::vector<int> watched = control_->descriptors();
  watched.push_back(signals_.get());
  if (engine_) watched.push_back(engine_->end());
  if (program_.valid() && !engine_) watched.push_back(program_.get());
  if (push_) watched.push_back(push_->end());
  sys::wait_any_readable(watched, push_ || to_push_.empty() ? milliseconds_to_wait() : 0);
  take_signals();
  take_requests();
  look_at_engine();
  // Not while a restore is under way: the program becomes our child before we know its pid.
  if (!engine_ || engine_->what() != EngineCall::What::restore) collect_strays();
  look_at_program();
  begin_what_is_due();
  serve_push();
  if (unsaved_) save();
}

void Supervisor::take_signals() {
  while (const auto signal = sys::next_signal(signals_.get())) {
    const auto& named = config_.on_signal();
    if (std::ranges::find(named, signal->number) != named.end()) {
      job_.note(fmt::format("signal {}: checkpoint and stop", sys::signal_name(signal->number)));
      wanted_.stop = wanted_.for_requeue = true;
      if (config_.grace_ms() > 0) wanted_.deadline = Clock::now() + milliseconds(config_.grace_ms());
    } else if (signal->number != SIGCHLD) {
      job_.note(fmt::format("signal {} for the supervisor is not followed; mini-criu stop {} ends the job",
                            sys::signal_name(signal->number), job_.id()));
    }
  }
}

void Supervisor::take_requests() {
  for (const auto& [connection, request] : control_->take_requests()) {
    switch (request.what()) {
      case job::Request::CHECKPOINT:
      case job::Request::STOP:
      case job::Request::END:
        wanted_.connections.push_back(connection);
        wanted_.checkpoint |= request.what() == job::Request::CHECKPOINT;
        wanted_.stop |= request.what() == job::Request::STOP;
        wanted_.end |= request.what() == job::Request::END;
        wanted_.for_requeue |= request.for_requeue();
        if (!request.folder().empty()) wanted_.folder = request.folder();
        if (request.streams() > 0) wanted_.streams = request.streams();
        if (request.for_requeue() && config_.grace_ms() > 0)
          wanted_.deadline = Clock::now() + milliseconds(config_.grace_ms());
        break;
      case job::Request::WAIT:
        wait_for_end_.push_back(connection);
        break;
      case job::Request::SIGNAL:
        if (program_.valid()) sys::signal_by_pidfd(program_.get(), request.signal());
        break;
      case job::Request::LOOK: {
        std::vector<uint64_t> one = {connection};
        answer(one, {});
        break;
      }
      default:
        break;
    }
  }
}

// One thing at a time; what a person asks for comes first.
void Supervisor::begin_what_is_due() {
  if (engine_ && engine_deadline_ && Clock::now() >= *engine_deadline_) {
    job_.note("the grace time is over: the checkpoint is given up, the program goes on");
    engine_deadline_.reset();
    engine_->kill();
  }
  if (wanted_.end && done_) {  // what is left is to be pushed, which is given up
    to_push_.clear();
    if (push_ && !push_->is_late()) push_->kill();
  }
  // The end may come in the middle of a checkpoint, which it makes pointless.
  if (wanted_.end && !done_) return end_program();
  if (engine_ || done_) return;
  const auto now = Clock::now();
  if (restart_at_ && now >= *restart_at_) return begin_restart();
  if (!program_.valid()) {
    if (wanted_.stop && restart_at_) end_between_attempts();
    return;
  }
  if (stop_at_ && now >= *stop_at_) {
    stop_at_.reset();
    wanted_.stop = wanted_.by_clock = true;
  }
  if (next_checkpoint_ && now >= *next_checkpoint_) wanted_.checkpoint = true;
  if (wanted_.checkpoint || wanted_.stop) begin_checkpoint_call();
}

bool Supervisor::save() {
  state_.set_changed_unix_ms(now_unix_ms());
  try {
    job_.save(state_);
    unsaved_ = false;
  } catch (const Error& error) {
    if (!unsaved_) job_.note(fmt::format("the state cannot be written: {}", error.what()));
    unsaved_ = true;
    unsaved_why_ = error.reason();
  }
  return !unsaved_;
}

void Supervisor::save_or_throw() {
  if (!save())
    throw Error(Fault::system, fmt::format("the state of the job cannot be written: {}", unsaved_why_),
                "see that its folder has space and is writable");
}

void Supervisor::finish() {
  state_.clear_supervisor();
  for (int attempt = 0; !save() && attempt < 5; ++attempt) sys::wait_any_readable({}, 200);
  job::Outcome outcome;
  outcome.set_ok(state_.status() == job::State::STOPPED || state_.status() == job::State::ENDED);
  outcome.set_reason("the job has ended meanwhile");
  outcome.set_remedy(
      fmt::format("mini-criu ps shows how; mini-criu resume {} goes on from its last checkpoint", job_.id()));
  say_ready(outcome);
  outcome.set_ok(false);
  answer(served_, outcome);
  answer(wanted_.connections, outcome);
  answer(wait_for_end_, outcome);
}

namespace {

// In the new process: everything from here on is its own.
int supervise(const JobFolder& job, const Task& task, int lock, int ready) {
  UniqueFd line(ready);
  try {
    Supervisor supervisor(job, UniqueFd(lock));
    supervisor.run(task, std::move(line));
    return 0;
  } catch (const Error& error) {  // before it had begun
    job.note(fmt::format("the supervisor cannot start: {}", error.what()));
    if (line.valid()) sys::write_text(line.get(), outcome_of(error).SerializeAsString());
    return 1;
  }
}

}  // namespace

job::Outcome launch(const JobFolder& job, UniqueFd lock, const Task& task) {
  job.require_own();
  sys::Pipe pipe = sys::make_pipe(O_CLOEXEC);
  const int kept[] = {lock.get(), pipe.write_end.get()};
  sys::start_detached(kept, [&] { return supervise(job, task, kept[0], kept[1]); });
  lock.reset();
  pipe.write_end.reset();
  std::string bytes;
  char buffer[4096];
  while (const size_t n = sys::read_some(pipe.read_end.get(), buffer, sizeof buffer)) bytes.append(buffer, n);
  job::Outcome outcome;
  if (bytes.empty() || !outcome.ParseFromString(bytes))
    throw Error(Fault::system, fmt::format("the supervisor of job {} has ended without a word", job.id()),
                fmt::format("see {}", job.file("execution.log")));
  return outcome;
}

bool wants_supervisor(const job::State& state) {
  return state.status() == job::State::STARTING || state.status() == job::State::RUNNING ||
         state.status() == job::State::RESUMING;
}

job::State settled_state(const JobFolder& job) {
  job::State state = job.state();
  if (!wants_supervisor(state) || !job.is_own() || other_host(state)) return state;
  auto lock = job.supervise();
  if (!lock) return state;  // there is one
  state = job.state();      // written down by the one that has ended since the look
  if (!wants_supervisor(state)) return state;
  launch(job, *std::move(lock), {Task::What::adopt, 0, {}});
  return job.state();
}

job::State latest_state(const JobFolder& job) {
  settled_state(job);
  auto line = ControlLine::open(job);
  job::Request request;
  request.set_what(job::Request::LOOK);
  if (!line || !line->ask(request)) return job.state();  // it has just ended, or there is none
  const auto answer = line->wait(sys::Clock::now() + std::chrono::seconds(3));
  return answer ? answer->state() : job.state();
}

std::optional<std::string> other_host(const job::State& state) {
  // Of one name and another boot it is this host, started anew; of one boot another name is a container's.
  if (!wants_supervisor(state) || state.host().empty() || state.host() == sys::host_name() ||
      state.boot_id() == boot_id())
    return std::nullopt;
  return state.host();
}

namespace {

[[noreturn]] void refuse_other_host(const JobFolder& job, const std::string& host) {
  throw Error(Fault::refused, fmt::format("job {} runs on host {}", job.id(), host),
              fmt::format("give the command there; if that host is down for good, mini-criu resume {} --take-over goes "
                          "on with the job here",
                          job.id()));
}

// Nobody was there to write it down.
void note_lost(const JobFolder& job, job::State state) {
  job.note(fmt::format("host {} is taken to be down: the job goes on on {}", state.host(), sys::host_name()));
  const auto stored = checkpoints_of(job);
  state.set_status(was_stopped_by_checkpoint(state, stored) ? job::State::STOPPED : job::State::LOST);
  take_up_unheard(state, stored);
  state.clear_stopping();
  forget_program(state);
  job.save(state);
}

}  // namespace

UniqueFd take_resting(const JobFolder& job, FormerHost former) {
  job.require_own();
  if (const auto host = other_host(job.state())) {
    auto lock = job.supervise();
    if (former == FormerHost::may_run || !lock) refuse_other_host(job, *host);
    if (const job::State state = job.state(); wants_supervisor(state)) note_lost(job, state);
    return *std::move(lock);
  }
  const auto last = sys::Clock::now() + std::chrono::seconds(10);
  for (;;) {
    const job::State state = settled_state(job);
    if (auto lock = job.supervise(); lock && !wants_supervisor(job.state())) return *std::move(lock);
    // Between the attempts of --restart a state needs no supervisor, and has one all the same.
    const bool is_over = sys::Clock::now() > last;
    if (is_over && !wants_supervisor(state) && !job.config().push().empty())
      throw Error(Fault::refused, fmt::format("the last checkpoint of job {} is still being pushed", job.id()),
                  fmt::format("mini-criu stop {} --no-checkpoint gives that up", job.id()));
    if (wants_supervisor(state) || is_over)
      throw Error(Fault::refused,
                  fmt::format("job {} {}", job.id(), is_over ? "is about to be restarted" : "is running"),
                  fmt::format("mini-criu logs -f {0} follows it, mini-criu stop {0} ends it", job.id()));
    sys::wait_any_readable({}, 10);
  }
}

}  // namespace mcr::jobs
