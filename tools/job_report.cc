#include "tools/job_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include "core/base/error.h"
#include "core/jobs/program.h"
#include "core/jobs/supervisor.h"
#include "core/sys/child.h"
#include "core/sys/file.h"
#include "tools/report.h"

namespace mcr::cli {
namespace {

double ms(uint64_t microseconds) {
  return static_cast<double>(microseconds) / 1000.0;
}

bool runs(const job::State& state) {
  return jobs::wants_supervisor(state);
}

using Row = std::array<std::string, 8>;

Row row_of(const JobView& job, uint64_t now) {
  Row row = {job.id,
             "process",
             job.state.pid() ? std::to_string(job.state.pid()) : "-",
             status_text(job),
             "-",
             "-",
             "-",
             job.gpu ? "yes" : "no"};
  if (!job.checkpoints.empty()) {
    const auto& last = job.checkpoints.back();
    row[4] = std::to_string(last.number);
    row[5] = readable_bytes(last.image_bytes);
    row[6] = age_text(last.created_unix_ms, now);
  }
  return row;
}

std::string folder_of(const jobs::JobFolder& job, const job::Outcome& outcome) {
  return outcome.folder().empty() ? jobs::checkpoint_folder(job, outcome.number()) : outcome.folder();
}

void put_figures(JsonObject& object, const job::Outcome& outcome) {
  JsonObject& times = put_object(object, "times_ms");
  put(times, "look", ms(outcome.look_us()));
  put(times, "gpu", ms(outcome.gpu_us()));
  put(times, "freeze", ms(outcome.freeze_us()));
  put(times, "frozen", ms(outcome.frozen_us()));
  put(times, "memory", ms(outcome.memory_us()));
  put(times, "files", ms(outcome.files_us()));
  put(times, "commit", ms(outcome.commit_us()));
  put(times, "total", ms(outcome.total_us()));
  JsonObject& bytes = put_object(object, "bytes");
  put(bytes, "image", static_cast<double>(outcome.image_bytes()));
  put(bytes, "files", static_cast<double>(outcome.file_bytes()));
}

}  // namespace

JobView view_of(const jobs::JobFolder& job) {
  JobView view;
  view.id = job.id();
  view.folder = job.path();
  view.config = job.config();
  // What a supervisor that was killed a moment ago has just forked may have had its lock still when it was asked for.
  constexpr int kAttempts = 3;
  constexpr std::chrono::milliseconds kBetween{20};
  for (int attempt = 0; attempt < kAttempts && !view.supervised; ++attempt) {
    if (attempt != 0) std::this_thread::sleep_for(kBetween);
    try {
      view.state = jobs::latest_state(job);
    } catch (const Error&) {  // a folder that cannot be written to: no supervisor can start there
      view.state = job.state();
    }
    view.supervised = job.has_supervisor();
    if (!jobs::wants_supervisor(view.state) || !job.is_own() || jobs::other_host(view.state)) break;
  }
  view.where = jobs::other_host(view.state);
  if (runs(view.state) && !view.where && !view.supervised && !jobs::open_program(view.state)) {
    view.state.set_status(job::State::LOST);  // which nobody could write down
    view.state.clear_pid();
  }
  view.checkpoints = jobs::checkpoints_of(job);
  view.gpu = view.config.gpu() ||
             (!view.checkpoints.empty() && sys::try_stat(view.checkpoints.back().folder + "/gpu.img").has_value());
  return view;
}

std::string status_text(const JobView& job) {
  const job::State& state = job.state;
  if (job.where) return fmt::format("running on host {}", *job.where);
  switch (state.status()) {
    case job::State::STARTING:
      return "starting";
    case job::State::RUNNING:
      return job.supervised ? "running" : "running, unsupervised";
    case job::State::RESUMING:
      return "resuming";
    case job::State::STOPPED:
      return "stopped";
    case job::State::LOST:
      return "lost";
    default:
      break;
  }
  if (job.supervised) return "restarting";
  if (!state.end_known()) return "ended";
  if (state.signal()) return fmt::format("killed ({})", sys::signal_name(state.signal()));
  return state.exit_code() ? fmt::format("failed (status {})", state.exit_code()) : "finished";
}

std::string age_text(uint64_t then_ms, uint64_t now_ms) {
  const uint64_t seconds = now_ms > then_ms ? (now_ms - then_ms) / 1000 : 0;
  if (seconds < 120) return fmt::format("{}s", seconds);
  if (seconds < 120 * 60) return fmt::format("{}m", seconds / 60);
  if (seconds < 48 * 3600) return fmt::format("{}h", seconds / 3600);
  return fmt::format("{}d", seconds / (24 * 3600));
}

std::string jobs_table(const std::vector<JobView>& jobs) {
  std::vector<Row> rows = {{"JOB ID", "TYPE", "PID", "STATUS", "CHECKPOINT", "SIZE", "AGE", "GPU"}};
  const uint64_t now = jobs::now_unix_ms();
  for (const JobView& job : jobs) rows.push_back(row_of(job, now));
  std::array<size_t, 8> widths{};
  for (const Row& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (size_t line = 0; line < rows.size(); ++line) {
    std::string one;
    for (size_t i = 0; i < rows[line].size(); ++i) one += fmt::format("{:<{}}  ", rows[line][i], widths[i]);
    one.erase(one.find_last_not_of(' ') + 1);
    text += one + "\n";
    if (line == 0) continue;
    const job::State& state = jobs[line - 1].state;
    for (const auto& [what, when] : {std::pair(state.last_error(), state.last_error_unix_ms()),
                                     std::pair(state.push_error(), state.push_error_unix_ms())})
      if (!what.empty()) text += fmt::format("  {} ago: {}\n", age_text(when, now), what);
  }
  return text;
}

void put_job(JsonObject& object, const JobView& job) {
  put(object, "id", job.id);
  put(object, "type", "process");
  put(object, "status", status_text(job));
  put_flag(object, "running", runs(job.state));
  put(object, "pid", static_cast<double>(job.state.pid()));
  put(object, "folder", job.folder);
  put(object, "log", job.folder + "/output.log");
  put_flag(object, "gpu", job.gpu);
  if (!job.state.host().empty()) put(object, "host", job.state.host());
  if (job.state.end_known()) {
    put(object, "exit_code", static_cast<double>(job.state.exit_code()));
    put(object, "signal", static_cast<double>(job.state.signal()));
  }
  put(object, "restarts_used", static_cast<double>(job.state.restarts_used()));
  put(object, "last_error", job.state.last_error());
  if (!job.config.push().empty()) {
    put(object, "pushed", static_cast<double>(job.state.pushed()));
    put(object, "push_error", job.state.push_error());
  }
  JsonList& list = put_list(object, "checkpoints");
  for (const auto& checkpoint : job.checkpoints) {
    JsonObject& one = *list.add_values()->mutable_struct_value();
    put(one, "number", static_cast<double>(checkpoint.number));
    put(one, "folder", checkpoint.folder);
    put(one, "created_unix_ms", static_cast<double>(checkpoint.created_unix_ms));
    put(one, "bytes", static_cast<double>(checkpoint.image_bytes));
  }
}

std::string checkpoint_line(const jobs::JobFolder& job, const job::Outcome& outcome) {
  return fmt::format("Checkpoint {} of {} in {}: {}, frozen for {:.1f} ms, {:.1f} ms in all", outcome.number(),
                     job.id(), folder_of(job, outcome), readable_bytes(outcome.image_bytes()), ms(outcome.frozen_us()),
                     ms(outcome.total_us()));
}

std::string checkpoint_figures(const job::Outcome& outcome) {
  JsonObject object;
  put_figures(object, outcome);
  return json_text(object);
}

std::string checkpoint_json(const char* command, const jobs::JobFolder& job, const job::Outcome& outcome) {
  JsonObject object;
  put_flag(object, "ok", true);
  put(object, "command", command);
  put(object, "id", job.id());
  put(object, "checkpoint", static_cast<double>(outcome.number()));
  put(object, "images_dir", folder_of(job, outcome));
  put_figures(object, outcome);
  return json_text(object);
}

void throw_outcome(const job::Outcome& outcome) {
  Fault fault = Fault::system;
  for (const Fault one : {Fault::usage, Fault::refused, Fault::system, Fault::image, Fault::timeout, Fault::internal})
    if (outcome.fault() == fault_name(one)) fault = one;
  throw Error(fault, outcome.reason(), outcome.remedy());
}

}  // namespace mcr::cli
