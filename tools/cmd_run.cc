#include <fmt/format.h>

#include <algorithm>

#include "core/jobs/checkpoints.h"
#include "core/jobs/line.h"
#include "core/jobs/supervisor.h"
#include "tools/commands.h"
#include "tools/job_follow.h"
#include "tools/job_report.h"
#include "tools/job_request.h"

namespace mcr::cli {
namespace {

void tell_start(const CommandLine& line, const jobs::JobFolder& job, int pid, uint32_t resumed_from) {
  if (line.settings.flag("json")) {
    JsonObject object;
    put_flag(object, "ok", true);
    put(object, "command", "run");
    put(object, "id", job.id());
    put(object, "pid", static_cast<double>(pid));
    put(object, "folder", job.path());
    put(object, "log", job.output());
    put(object, "resumed_from", static_cast<double>(resumed_from));
    return print(json_text(object) + "\n");
  }
  const std::string how = resumed_from ? fmt::format("goes on from checkpoint {}", resumed_from) : "started";
  const std::string text = fmt::format("Job {} {} (pid {})\n", job.id(), how, pid);
  if (line.settings.flag("follow") || line.settings.value("on-signal")) return say(fmt::format("mini-criu: {}", text));
  print(text + fmt::format("  its output: mini-criu logs -f {}\n", job.id()));
  if (line.settings.flag("tty")) print(fmt::format("  its terminal: mini-criu attach {}\n", job.id()));
}

// A batch script that runs once more: the job it had before goes on.
uint32_t resume_again(const jobs::JobFolder& job, const CommandLine& line, const job::Config& wanted) {
  job::Config config = job.config();
  if (!std::ranges::equal(config.command(), wanted.command()) || config.folder() != wanted.folder())
    throw Error(Fault::refused, fmt::format("there is a job {} already, with another command or folder", job.id()),
                fmt::format("mini-criu rm {} removes it; or give another --id", job.id()));
  // Of a batch system that starts it anew, whose former host is down.
  UniqueFd lock = jobs::take_resting(job, jobs::FormerHost::is_down);
  const job::State state = job.state();
  if (state.status() == job::State::ENDED && state.end_known() && !state.signal() && state.exit_code() == 0)
    throw Error(Fault::refused, fmt::format("job {} has finished already", job.id()),
                fmt::format("its output: mini-criu logs {0}; mini-criu rm {0} removes it", job.id()));
  if (change_job(line, config)) job.save(config);
  const uint32_t number = jobs::default_checkpoint(state, jobs::checkpoints_of(job)).value_or(0);
  if (number == 0 && jobs::has_had_checkpoints(job))
    throw Error(Fault::refused,
                fmt::format("no checkpoint of job {} can be read, and it is not started anew", job.id()),
                fmt::format("look at {}; mini-criu rm {} removes the job", job.checkpoints(), job.id()));
  const jobs::Task task{number ? jobs::Task::What::resume : jobs::Task::What::start, number, {}};
  const job::Outcome outcome = jobs::launch(job, std::move(lock), task);
  if (!outcome.ok()) throw_outcome(outcome);
  return number;
}

}  // namespace

int run_run(const CommandLine& line) {
  refuse_foreign_options(line);
  const Step step("run");
  job::Config config = new_job(line);
  const jobs::JobsFolder folder = jobs_folder(line);
  const std::string keys = detach_keys(line);
  const bool is_batch = !config.on_signal().empty(), stays = line.settings.flag("follow") || is_batch;
  // From here on signals are the program's, which may not be there yet.
  const UniqueFd signals = stays ? take_signals(config) : UniqueFd();
  if (is_batch) {
    if (const auto known = folder.find(config.id())) {
      const uint32_t number = resume_again(*known, line, config);
      const auto details = jobs::details_of(*known, number);
      LogPrinter printer(*known, details ? details->output_bytes() : 0);
      tell_start(line, *known, known->state().pid(), number);
      return stand_in(*known, printer, signals.get());
    }
  }
  auto [job, lock] = folder.create(config);
  const job::Outcome outcome = jobs::launch(job, std::move(lock), {});
  if (!outcome.ok()) {
    folder.remove(job, jobs::take_resting(job));  // nothing of it has run
    throw_outcome(outcome);
  }
  LogPrinter printer(job);
  tell_start(line, job, outcome.pid(), 0);
  if (stays && config.terminal()) return sit_in(job, {keys, signals.get(), 0});
  return stays ? stand_in(job, printer, signals.get()) : 0;
}

}  // namespace mcr::cli
