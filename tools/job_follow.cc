#include "tools/job_follow.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <system_error>
#include <vector>

#include "core/base/error.h"
#include "core/jobs/control.h"
#include "core/jobs/supervisor.h"
#include "core/sys/child.h"
#include "core/sys/file.h"
#include "core/sys/stream.h"
#include "core/sys/supervise.h"
#include "tools/commands.h"

namespace mcr::cli {
namespace {

constexpr int kLookMilliseconds = 100;  // how often the log is looked at

job::Request request_for(job::Request::What what) {
  job::Request request;
  request.set_what(what);
  return request;
}

// Follows one supervisor after the other until the job needs none.
template <typename EachTime>
job::State follow(const jobs::JobFolder& job, LogPrinter& printer, int also_watched, const EachTime& each_time) {
  for (;;) {
    const job::State state = jobs::settled_state(job);
    auto line = jobs::ControlLine::open(job);
    if (!line || !line->ask(request_for(job::Request::WAIT))) {
      printer.print_new();
      if (!job.has_supervisor() && !jobs::wants_supervisor(state)) return job.state();
      sys::wait_any_readable({}, kLookMilliseconds);
      continue;
    }
    while (!line->has_ended()) {
      const int watched[] = {line->descriptor(), also_watched};
      sys::wait_any_readable(std::span(watched, also_watched < 0 ? 1 : 2), kLookMilliseconds);
      each_time();
      const auto answer = line->wait(sys::Clock::now());
      printer.print_new();
      if (answer) return answer->state();
    }
  }
}

// Its answer comes by way of the end of the job, or by the log of what has failed.
class RequeueRequest {
 public:
  explicit RequeueRequest(const jobs::JobFolder& job) : line_(jobs::ControlLine::open(job)) {
    job::Request request = request_for(job::Request::STOP);
    request.set_for_requeue(true);
    if (line_) line_->ask(request);
  }
  void look() {
    if (!line_) return;
    const auto answer = line_->wait(sys::Clock::now());
    if (answer && !answer->outcome().ok())
      say(fmt::format("mini-criu: no checkpoint could be taken, the job goes on: {}\n", answer->outcome().reason()));
    if (answer || line_->has_ended()) line_.reset();
  }

 private:
  std::optional<jobs::ControlLine> line_;
};

int end_like(const jobs::JobFolder& job, const job::State& state, const job::Config& config) {
  if (state.status() == job::State::STOPPED) {
    say(fmt::format("mini-criu: job {0} is stopped at its last checkpoint; mini-criu resume {0} goes on with it\n",
                    job.id()));
    return state.stopped_for_requeue() ? config.requeue_status() : 0;
  }
  if (!state.end_known())
    throw Error(Fault::system, fmt::format("job {} has ended, and how is not known", job.id()),
                fmt::format("see {}", job.file("execution.log")));
  if (state.signal()) sys::end_by_signal(state.signal());
  return state.exit_code();
}

}  // namespace

void LogPrinter::print_new() {
  if (unread_) return;
  int code = 0;
  const auto log = sys::probe_open(job_.output(), O_RDONLY, code);
  if (!log) return;
  at_ = std::min(at_, static_cast<uint64_t>(sys::stat_fd(log->get()).st_size));
  std::vector<char> buffer(1 << 16);
  try {
    while (const size_t n = sys::pread_some(log->get(), buffer.data(), buffer.size(), at_)) {
      sys::write_stream(1, buffer.data(), n);
      at_ += n;
    }
  } catch (const Error& error) {
    if (error.code() != static_cast<int>(std::errc::broken_pipe)) throw;
    unread_ = true;  // the job goes on, and its log has all of it
  }
}

job::State follow_log(const jobs::JobFolder& job, LogPrinter& printer) {
  return follow(job, printer, -1, [&] {
    if (printer.is_unread()) sys::end_by_signal(SIGPIPE);
  });
}

void pass_signal(const jobs::JobFolder& job, int number) {
  job::Request request = request_for(job::Request::SIGNAL);
  request.set_signal(number);
  if (auto line = jobs::ControlLine::open(job)) line->ask(request);
}

UniqueFd take_signals(const job::Config& config) {
  std::vector<int> taken = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};
  taken.insert(taken.end(), config.on_signal().begin(), config.on_signal().end());
  return sys::receive_signals(taken);
}

int sit_in(const jobs::JobFolder& job, const Seat& seat) {
  if (attach(job, seat) == AttachEnd::left) {
    say(fmt::format("\r\nmini-criu: job {0} goes on; mini-criu attach {0} comes back to it\n", job.id()));
    return 0;
  }
  return end_like(job, job.state(), job.config());
}

int stand_in(const jobs::JobFolder& job, LogPrinter& printer, int signals) {
  const job::Config config = job.config();
  std::optional<RequeueRequest> requeue;
  const job::State state = follow(job, printer, signals, [&] {
    while (const auto signal = sys::next_signal(signals)) {
      if (std::ranges::find(config.on_signal(), signal->number) != config.on_signal().end())
        requeue.emplace(job);
      else
        pass_signal(job, signal->number);
    }
    if (requeue) requeue->look();
  });
  return end_like(job, state, config);
}

}  // namespace mcr::cli
