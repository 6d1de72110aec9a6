// The commands that look at jobs, and the one that removes them.
#include <fmt/chrono.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>

#include "core/base/error.h"
#include "core/jobs/supervisor.h"
#include "core/sys/child.h"
#include "core/sys/file.h"
#include "core/sys/supervise.h"
#include "tools/commands.h"
#include "tools/job_follow.h"
#include "tools/job_report.h"
#include "tools/job_request.h"
#include "tools/report.h"
#include "tools/values.h"

namespace mcr::cli {
namespace {

std::string time_text(uint64_t unix_ms) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::localtime(static_cast<std::time_t>(unix_ms / 1000)));
}

std::string duration_text(uint64_t ms) {
  return ms % 1000 ? fmt::format("{} ms", ms) : fmt::format("{} s", ms / 1000);
}

std::string inspect_text(const JobView& job) {
  std::string command;
  for (const std::string& word : job.config.command()) command += (command.empty() ? "" : " ") + word;
  const auto row = [](std::string_view what, const std::string& value) {
    return fmt::format("{:<14}{}\n", what, value);
  };
  std::string text = row("job", job.id) + row("command", command) + row("started in", job.config.folder()) +
                     row("made", time_text(job.config.created_unix_ms())) + row("status", status_text(job));
  if (job.state.pid()) text += row("pid", std::to_string(job.state.pid()));
  if (!job.state.last_error().empty()) text += row("last failure", job.state.last_error());
  if (job.config.every_ms()) text += row("checkpoint", "every " + duration_text(job.config.every_ms()));
  if (job.config.after_ms()) text += row("stop", "after " + duration_text(job.config.after_ms()));
  if (job.config.keep()) text += row("keep", std::to_string(job.config.keep()));
  if (!job.config.push().empty())
    text += row("push",
                fmt::format("{}; the last was checkpoint {}", fmt::join(job.config.push(), " "), job.state.pushed()));
  if (!job.state.push_error().empty()) text += row("last push", job.state.push_error());
  if (!job.config.brought_from().empty()) text += row("brought from", job.config.brought_from());
  if (job.config.restarts())
    text += row("restarts", fmt::format("{} of {} used", job.state.restarts_used(), job.config.restarts()));
  text += row("folder", job.folder) + row("output", job.folder + "/output.log") +
          row("what was done", job.folder + "/execution.log");
  for (const auto& checkpoint : job.checkpoints)
    text += row(fmt::format("checkpoint {}", checkpoint.number),
                fmt::format("{}  {}  {}", time_text(checkpoint.created_unix_ms), readable_bytes(checkpoint.image_bytes),
                            checkpoint.folder));
  return text;
}

}  // namespace

namespace {

// False: one of the jobs could not be read.
bool print_jobs(const CommandLine& line, const jobs::JobsFolder& folder) {
  std::vector<JobView> views;
  std::string unreadable;
  for (const std::string& id : folder.ids()) {
    try {
      if (const auto job = folder.find(id)) views.push_back(view_of(*job));
    } catch (const Error& error) {  // removed meanwhile, or damaged: the others are shown all the same
      if (folder.find(id)) unreadable += fmt::format("mini-criu: job {}: {}\n", id, error.what());
    }
  }
  if (line.settings.flag("json")) {
    JsonObject object;
    put_flag(object, "ok", true);
    put(object, "command", "ps");
    put(object, "jobs_dir", folder.path());
    JsonList& list = put_list(object, "jobs");
    for (const JobView& view : views) put_job(*list.add_values()->mutable_struct_value(), view);
    print(json_text(object) + "\n");
  } else if (views.empty()) {
    print(fmt::format("No jobs in {}; mini-criu run starts one\n", folder.path()));
  } else {
    print(jobs_table(views));
  }
  say(unreadable);
  return unreadable.empty();
}

// "--watch", "--watch=5" and "--watch 5". nullopt: once is enough.
std::optional<std::chrono::milliseconds> watch_pause(const CommandLine& line) {
  constexpr std::chrono::milliseconds kPause{2000}, kShortest{100};
  const auto watch = line.settings.value("watch");
  if (line.operands.size() > (watch ? 1U : 0U)) usage("ps takes no operand", "mini-criu inspect ID prints one job");
  if (!watch) return std::nullopt;
  if (line.operands.empty() && *watch == "+") return kPause;
  return std::max(kShortest, parse_duration("watch", line.operands.empty() ? *watch : line.operands.front()));
}

}  // namespace

int run_ps(const CommandLine& line) {
  refuse_foreign_options(line);
  const auto pause = watch_pause(line);
  const jobs::JobsFolder folder = jobs_folder(line);
  if (!pause) return print_jobs(line, folder) ? 0 : 1;
  const bool on_terminal = sys::is_terminal(STDOUT_FILENO);
  for (bool is_first = true;; is_first = false) {
    // ECMA-48: to the upper left, and nothing is left below.
    if (on_terminal) print("\033[H\033[J");
    if (!on_terminal && !is_first && !line.settings.flag("json")) print("\n");
    print_jobs(line, folder);
    sys::wait_any_readable({}, static_cast<int>(std::min<int64_t>(pause->count(), 86'400'000)));
  }
}

int run_logs(const CommandLine& line) {
  refuse_foreign_options(line);
  const Step step("logs");
  const jobs::JobFolder job = job_operand(line);
  LogPrinter printer(job);
  printer.print_new();
  if (printer.is_unread()) sys::end_by_signal(SIGPIPE);  // as any program of a pipeline
  if (line.settings.flag("follow")) follow_log(job, printer);
  return 0;
}

int run_rm(const CommandLine& line) {
  refuse_foreign_options(line);
  const Step step("rm");
  if (line.operands.empty()) usage("rm takes the ids of jobs", "mini-criu ps lists them");
  const jobs::JobsFolder folder = jobs_folder(line);
  for (const std::string& id : line.operands) {
    const jobs::JobFolder job = folder.get(id);
    folder.remove(job, jobs::take_resting(job));
  }
  return 0;
}

int run_inspect(const CommandLine& line) {
  refuse_foreign_options(line);
  const Step step("inspect");
  const JobView job = view_of(job_operand(line));
  if (!line.settings.flag("json")) {
    print(inspect_text(job));
    return 0;
  }
  JsonObject object;
  put_flag(object, "ok", true);
  put(object, "command", "inspect");
  put_job(put_object(object, "job"), job);
  print(json_text(object) + "\n");
  return 0;
}

}  // namespace mcr::cli
