// What the engine is called for: checkpoints and resumes, one at a time.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "core/base/error.h"
#include "core/jobs/checkpoints.h"
#include "core/jobs/job_file.h"
#include "core/jobs/line.h"
#include "core/jobs/outcome.h"
#include "core/jobs/program.h"
#include "core/jobs/supervisor.h"
#include "core/jobs/text.h"
#include "core/procfs/status.h"
#include "core/sys/child.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::jobs {
namespace {

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

// Killed, or by a defect: it has not told how far it came.
bool has_ended_silently(const job::Outcome& outcome) {
  return !outcome.ok() && outcome.fault() == "internal";
}

// A process that has left the tree would be missing from the image, and from a job that was stopped.
void refuse_strays(const std::vector<HostPid>& strays) {
  for (const HostPid stray : strays) {
    const auto text = sys::try_read_text(fmt::format("/proc/{}/status", stray));
    if (!text) continue;
    const auto status = procfs::parse_status(*text);
    const bool is_first_of_namespace = status.ns_pid.size() > 1 && status.ns_pid.back() == 1;
    if (status.state == 'Z' || is_first_of_namespace) continue;
    throw Error(
        Fault::refused,
        fmt::format("process {} ({}) of the job has lost its parent, and would not be saved", stray, status.name),
        "let the program wait for what it starts, or end that process");
  }
}

}  // namespace

void Supervisor::answer(std::vector<uint64_t>& connections, const job::Outcome& outcome) {
  job::Answer answer;
  *answer.mutable_outcome() = outcome;
  *answer.mutable_state() = state_;
  for (const uint64_t connection : connections) control_->answer(connection, answer);
  connections.clear();
}

void Supervisor::failed(const job::Outcome& outcome, const std::string& what) {
  state_.set_last_error(as_utf8(fmt::format("{}: {}", what, first_line(outcome.reason()))));
  state_.set_last_error_unix_ms(now_unix_ms());
  job_.note(
      fmt::format("{} failed: {}{}{}", what, outcome.reason(), outcome.remedy().empty() ? "" : "; ", outcome.remedy()));
}

void Supervisor::begin_checkpoint_call() {
  const Wanted wanted = std::exchange(wanted_, {});
  const bool stop = wanted.stop;
  served_ = wanted.connections;
  for_requeue_ = wanted.for_requeue, by_clock_ = wanted.by_clock;
  engine_deadline_ = wanted.deadline;
  job::Outcome outcome;
  try {
    refuse_strays(strays());
    const uint32_t number = std::max(state_.next_number(), 1U);
    state_.set_next_number(number + 1);
    state_.set_stopping(stop ? number : 0);
    take_up_unheard(state_, checkpoints_of(job_));
    state_.set_under_way(number);
    // Written first: should we be killed, our successor knows that the end of the program was meant.
    save_or_throw();
    job::Config config = config_;
    if (wanted.streams > 0) config.set_streams(wanted.streams);
    engine_ = EngineCall::dump(job_, config, {HostPid(state_.pid()), number, stop, wanted.folder, state_.line()});
    return;
  } catch (const Error& error) {
    outcome = outcome_of(error);
  }
  checkpoint_done(outcome, stop);
}

void Supervisor::begin_resume(uint32_t number, engine::FileValidation validation) {
  before_resume_ = state_.status();
  state_.set_status(job::State::RESUMING);
  state_.set_resumed_from(number);
  state_.set_resume_began(start_time_now());
  try {
    refuse_survivors();
    save_or_throw();
    engine_ = EngineCall::restore(job_, config_, number, validation);
  } catch (const Error& error) {
    resume_done(outcome_of(error));
  }
}

// Beside what is left of a program that has lost its first process no second one may begin: both would write the files.
void Supervisor::refuse_survivors() const {
  const std::vector<HostPid> left = marked_processes(config_.token());
  if (left.empty()) return;
  throw Error(Fault::refused, fmt::format("process {} of the job still runs", left.front()),
              "end it first, with what it has started");
}

void Supervisor::look_at_engine() {
  if (!engine_ || !(sys::poll_now(engine_->end(), 1) & 1)) return;
  job::Outcome outcome = engine_->take_outcome();
  const EngineCall::What what = engine_->what();
  const bool stop = engine_->stops();
  engine_.reset();
  engine_deadline_.reset();
  if (what == EngineCall::What::restore) return resume_done(outcome);
  checkpoint_done(std::move(outcome), stop);
}

void Supervisor::checkpoint_done(job::Outcome outcome, bool stop) {
  const uint32_t number = outcome.number();
  const bool program_lives = !program_has_ended();
  // The engine may have died behind the commit: what counts is the image, and whether the program is there.
  const auto stored = number ? checkpoints_of(job_) : std::vector<StoredCheckpoint>();
  const bool is_whole = !stored.empty() && stored.back().number == number;
  const bool is_good = outcome.ok() || has_ended_silently(outcome);
  if (is_whole && (is_good ? !stop || !program_lives : stop && !program_lives)) outcome.set_ok(true);
  if (outcome.ok()) {
    state_.clear_last_error(), state_.clear_last_error_unix_ms();
    restart_before_ = UINT32_MAX;
    append(*state_.mutable_line(), number);
    want_push(number);
    job_.note(fmt::format("checkpoint {}: {} bytes, frozen for {:.1f} ms, {:.1f} ms in all{}", number,
                          outcome.image_bytes(), static_cast<double>(outcome.frozen_us()) / 1000,
                          static_cast<double>(outcome.total_us()) / 1000, stop ? "; stopped" : ""));
    if (is_good) retire_old_checkpoints();  // where something else has failed, a power cut may yet take this one
  } else {
    if (number && !is_whole) discard_torn(number);
    if (by_clock_) {
      constexpr uint64_t kLongestPause = 10'000;
      stop_at_ = Clock::now() + std::chrono::milliseconds(std::min(config_.after_ms(), kLongestPause));
    }
    failed(outcome, number ? fmt::format("checkpoint {}", number) : "the checkpoint");
  }
  if (stop && outcome.ok()) note_stopped();
  state_.clear_stopping(), state_.clear_under_way();
  save();
  answer(served_, outcome);
  if (config_.every_ms() > 0) next_checkpoint_ = Clock::now() + std::chrono::milliseconds(config_.every_ms());
}

bool Supervisor::program_has_ended() const {
  return !program_.valid() || (sys::poll_now(program_.get(), 1) & 1);
}

void Supervisor::note_stopped() {
  if (program_.valid()) sys::wait_readable(program_.get(), 1000);
  if (is_child_) sys::collect_ended(HostPid(state_.pid()));
  program_.reset();
  restart_at_.reset();
  forget_program(state_);
  state_.set_status(job::State::STOPPED);
  state_.clear_end_known(), state_.clear_exit_code(), state_.clear_signal();
  state_.set_stopped_for_requeue(for_requeue_);
  done_ = true;
}

// Its log says why; the rest is of no use. Of a folder elsewhere only our link goes.
void Supervisor::discard_torn(uint32_t number) {
  const std::string folder = checkpoint_folder(job_, number);
  std::error_code left;
  std::filesystem::rename(folder + "/dump.log", job_.file("failed-dump.log"), left);
  std::filesystem::remove_all(folder, left);
}

// Between two attempts of --restart: its last checkpoint, or the start, is what there is.
void Supervisor::end_between_attempts() {
  restart_at_.reset();
  const bool can_go_on = wanted_.for_requeue || last_of_line(state_, checkpoints_of(job_), restart_before_);
  state_.set_status(can_go_on ? job::State::STOPPED : job::State::ENDED);
  state_.set_stopped_for_requeue(wanted_.for_requeue);
  job_.note("stopped before it was restarted, as asked for");
  done_ = true;
  save();
  job::Outcome outcome;
  outcome.set_ok(true);
  answer(wanted_.connections, outcome);
  wanted_ = {};
}

void Supervisor::retire_old_checkpoints() {
  if (config_.keep() == 0) return;
  std::vector<uint32_t> numbers;
  for (const StoredCheckpoint& stored : checkpoints_of(job_)) {
    const auto status = sys::try_stat(stored.folder, false);  // one that lies elsewhere may be taken away at any time
    if (status && !S_ISLNK(status->st_mode)) numbers.push_back(stored.number);
  }
  try {
    for (const uint32_t number : superfluous(numbers, config_.keep()))
      if (!push_ || push_->number() != number) remove_checkpoint(job_, number);
  } catch (const Error& error) {
    job_.note(fmt::format("an old checkpoint cannot be removed: {}", error.what()));
  }
}

void Supervisor::resume_done(job::Outcome outcome) {
  const uint32_t number = state_.resumed_from();
  if (has_ended_silently(outcome)) {
    // The engine may have been killed behind the commit: then the program runs.
    if (const auto pid = find_marked(config_.token(), state_.resume_began())) {
      outcome.set_ok(true);
      outcome.set_pid(pid->get());
    }
  }
  if (outcome.terminal() > 0) keeper_ = HostPid(outcome.terminal());
  auto pidfd = outcome.ok() ? sys::try_open_pidfd(HostPid(outcome.pid())) : std::nullopt;
  if (pidfd) {
    note_program(state_, HostPid(outcome.pid()));
    state_.set_status(job::State::RUNNING);
    state_.clear_stopped_for_requeue();
    state_.clear_last_error(), state_.clear_last_error_unix_ms();
    *state_.mutable_line() = line_from(state_, details_of(job_, number), number);
    job_.note(fmt::format("goes on from checkpoint {} as pid {}, restored in {:.1f} ms", number, outcome.pid(),
                          static_cast<double>(outcome.total_us()) / 1000));
    watch(HostPid(outcome.pid()), std::move(*pidfd), true);
    save();
    return say_ready(outcome);
  }
  state_.set_status(before_resume_);
  failed(outcome, fmt::format("the resume from checkpoint {}", number));
  const bool is_restart = !ready_.valid();
  if (is_restart && outcome.fault() == "image") restart_before_ = number;  // the one before may be whole
  if (is_restart && state_.restarts_used() < config_.restarts()) {
    state_.set_restarts_used(state_.restarts_used() + 1);
    restart_at_ = Clock::now() + std::chrono::seconds(1U << std::min(state_.restarts_used(), 6U));
  } else {
    done_ = true;
  }
  save();
  say_ready(outcome);
}

}  // namespace mcr::jobs
