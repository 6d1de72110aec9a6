#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/base/error.h"
#include "core/jobs/checkpoints.h"
#include "core/jobs/line.h"
#include "core/jobs/standby.h"
#include "core/jobs/supervisor.h"
#include "tools/commands.h"
#include "tools/job_follow.h"
#include "tools/job_report.h"
#include "tools/job_request.h"
#include "tools/values.h"

namespace mcr::cli {
namespace {

uint32_t chosen_checkpoint(const CommandLine& line, const jobs::JobFolder& job) {
  constexpr unsigned kMost = 1'000'000'000;
  const auto stored = jobs::checkpoints_of(job);
  if (stored.empty())
    throw Error(Fault::refused, fmt::format("job {} has no checkpoint", job.id()),
                fmt::format("there is nothing to go on from; mini-criu rm {} removes it", job.id()));
  const auto from = line.settings.value("from");
  if (!from) return *jobs::default_checkpoint(job.state(), stored);
  if (line.operands.empty()) return stored.back().number;  // the image that was brought here
  const unsigned number = parse_count("from", *from, kMost);
  if (std::ranges::find(stored, number, &jobs::StoredCheckpoint::number) != stored.end()) return number;
  std::string known;
  for (const auto& one : stored) known += fmt::format(" {}", one.number);
  throw Error(Fault::refused, fmt::format("job {} has no checkpoint {}", job.id(), number), "it has" + known);
}

void tell(const CommandLine& line, const jobs::JobFolder& job, const job::Outcome& outcome, uint32_t number) {
  if (line.settings.flag("json")) {
    JsonObject object;
    put_flag(object, "ok", true);
    put(object, "command", "resume");
    put(object, "id", job.id());
    put(object, "checkpoint", static_cast<double>(number));
    put(object, "pid", static_cast<double>(outcome.pid()));
    JsonObject& times = put_object(object, "times_ms");
    put(times, "memory", static_cast<double>(outcome.memory_us()) / 1000);
    put(times, "total", static_cast<double>(outcome.total_us()) / 1000);
    return print(json_text(object) + "\n");
  }
  const std::string text = fmt::format("Job {} goes on from checkpoint {} (pid {})\n", job.id(), number, outcome.pid());
  if (line.settings.flag("follow")) return say(fmt::format("mini-criu: {}", text));
  print(text + fmt::format("  its output: mini-criu logs -f {}\n", job.id()));
}

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

// The image of another host, of which there is no job here yet.
std::optional<std::string> image_to_take_in(const CommandLine& line) {
  const auto from = line.settings.value("from");
  if (!from || !line.operands.empty() || is_number(*from)) {
    if (line.settings.value("id"))
      usage("--id is about an image that is brought here (--from DIR)", "the job is named without it: resume ID");
    return std::nullopt;
  }
  const auto folder = std::filesystem::absolute(*from).lexically_normal();
  return folder.has_filename() ? folder.string() : folder.parent_path().string();
}

jobs::JobsFolder::Made job_to_resume(const CommandLine& line) {
  const auto image = image_to_take_in(line);
  if (!image) {
    const jobs::JobFolder job = job_operand(line);
    const bool is_down = line.settings.flag("take-over");
    return {job, jobs::take_resting(job, is_down ? jobs::FormerHost::is_down : jobs::FormerHost::may_run)};
  }
  const std::string id = line.settings.value("id").value_or("");
  if (!id.empty()) check_job_id(id);
  return jobs::take_in(jobs_folder(line), *image, id);
}

}  // namespace

int run_resume(const CommandLine& line) {
  refuse_foreign_options(line);
  const Step step("resume");
  jobs::Task task{jobs::Task::What::resume, 0, {}};
  if (const auto how = line.settings.value("file-validation"))
    task.validation = parse_validation("file-validation", *how);
  auto [job, lock] = job_to_resume(line);
  const std::string keys = detach_keys(line);
  const bool stays = line.settings.flag("follow");
  const UniqueFd signals = stays ? take_signals(job.config()) : UniqueFd();
  task.number = chosen_checkpoint(line, job);
  if (job::Config config = job.config(); change_job(line, config)) job.save(config);
  const auto details = jobs::details_of(job, task.number);
  const job::Outcome outcome = jobs::launch(job, std::move(lock), task);
  if (!outcome.ok()) throw_outcome(outcome);
  LogPrinter printer(job, details ? details->output_bytes() : 0);
  tell(line, job, outcome, task.number);
  if (stays && job.config().terminal())
    return sit_in(job, {keys, signals.get(), details ? details->output_bytes() : 0});
  return stays ? stand_in(job, printer, signals.get()) : 0;
}

}  // namespace mcr::cli
