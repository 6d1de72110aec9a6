#include "tools/check_report.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "images/byte_text.h"
#include "tools/help.h"
#include "tools/json_object.h"
#include "tools/report.h"
#include "tools/request.h"

namespace mcr::cli {
namespace {

constexpr size_t kWidth = 100;

std::string in_colour(std::string_view colour, const std::string& text, const Colours& colours) {
  return fmt::format("{}{}{}", colour, text, colour.empty() ? std::string_view() : colours.plain);
}

std::string title(const std::string& text, const Colours& colours) {
  return fmt::format("\n{}\n", in_colour(colours.strong, text, colours));
}

std::string paragraph(const std::string& text, size_t indent) {
  return fmt::format("{:{}}{}\n", "", indent, wrapped(text, kWidth - indent, indent));
}

std::string count_of(uint64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : what.ends_with('s') ? "es" : "s");
}

// Two digits are as much as a forecast has.
std::string duration(uint64_t microseconds) {
  const double ms = static_cast<double>(microseconds) / 1000;
  if (ms < 10) return fmt::format("{:.1f} ms", ms);
  if (ms < 1000) return fmt::format("{:.0f} ms", ms);
  return fmt::format("{:.1f} s", ms / 1000);
}

std::string process_row(const engine::ProcessReport& p) {
  constexpr size_t kMost = kWidth - 41;
  std::string command = images::escaped(p.command);
  if (command.size() > kMost) command = command.substr(0, kMost - 3) + "...";
  const std::string memory = p.is_seen ? readable_bytes(p.private_bytes) : "?";
  return fmt::format("  {:>8}  {:>7}  {:>10}  {:>6}  {}\n", p.pid, p.threads, memory,
                     p.is_seen ? std::to_string(p.descriptors) : "?", command);
}

std::string process_rows(const engine::TreeReport& report) {
  constexpr size_t kMostRows = 40;
  std::string text = fmt::format("  {:>8}  {:>7}  {:>10}  {:>6}  {}\n", "PID", "THREADS", "MEMORY", "FILES", "COMMAND");
  for (size_t i = 0; i < std::min(report.processes.size(), kMostRows); ++i) text += process_row(report.processes[i]);
  if (report.processes.size() > kMostRows)
    text += fmt::format("  ... and {} more\n", report.processes.size() - kMostRows);
  return text;
}

std::string kind_words(std::string kind, uint32_t count) {
  std::ranges::replace(kind, '_', ' ');
  return fmt::format("{} {}", count, kind);
}

std::string contents(const engine::TreeReport& report) {
  const auto& a = report.amounts;
  std::string text = paragraph(
      fmt::format("memory       {} private, {} shared, {} in files without a name", readable_bytes(a.private_bytes),
                  readable_bytes(a.shared_bytes), readable_bytes(a.file_bytes)),
      2);
  std::vector<std::string> kinds;
  for (const auto& [kind, count] : report.descriptors) kinds.push_back(kind_words(kind, count));
  const std::string all = kinds.empty() ? "none" : fmt::format("{}", fmt::join(kinds, ", "));
  text += fmt::format("  descriptors  {}\n", wrapped(all, kWidth - 15, 15));
  constexpr size_t kMostSockets = 20;
  for (size_t i = 0; i < std::min(report.sockets.size(), kMostSockets); ++i)
    text += fmt::format("  {:<13}{}\n", i == 0 ? "sockets" : "", images::escaped(report.sockets[i]));
  if (report.sockets.size() > kMostSockets)
    text += fmt::format("  {:<13}... and {} more\n", "", report.sockets.size() - kMostSockets);
  return text;
}

std::string problem_rows(const Problem& problem, const Colours& colours) {
  std::string text = fmt::format("  {}\n", in_colour(colours.bad, images::escaped(problem.object), colours));
  text += paragraph(images::escaped(problem.reason), 6);
  if (!problem.remedy.empty()) text += paragraph(fmt::format("remedy: {}", images::escaped(problem.remedy)), 6);
  return text;
}

std::string list_of(const std::string& heading, const std::vector<std::string>& lines, const Colours& colours) {
  if (lines.empty()) return {};
  std::string text = title(heading, colours);
  for (const std::string& line : lines) text += fmt::format("  - {}\n", wrapped(images::escaped(line), kWidth - 4, 4));
  return text;
}

std::string forecast_rows(const engine::TreeReport& report) {
  const auto& f = report.forecast;
  std::string text = fmt::format("  image        {} at most\n", readable_bytes(f.image_bytes));
  text += fmt::format("  pause        about {} with --leave-running, {} with --live\n", duration(f.pause_us),
                      duration(f.live_us));
  text += fmt::format("  dump         about {} in all\n", duration(f.total_us));
  return text;
}

std::string cpu_rows(const engine::TreeReport& report) {
  constexpr std::string_view kWhat =
      "A restore demands of a CPU what the program may have found here at its start; beyond x86-64-v2 that is";
  if (report.demands.empty()) return paragraph(fmt::format("{} nothing.", kWhat), 2);
  uint32_t threads = 0;
  for (const auto& process : report.processes) threads += process.avx512_threads;
  std::string used;
  if (threads > 0)
    used = fmt::format(" {} lately.", threads == 1 ? "One of its threads has used AVX-512"
                                                   : fmt::format("{} of its threads have used AVX-512", threads));
  return paragraph(fmt::format("{} {}.{} An older CPU is refused by name; --cpu-cap overrules that for a program that "
                               "does without.",
                               kWhat, fmt::join(report.demands, " "), used),
                   2);
}

std::string verdict(size_t count, const char* what, const Colours& colours) {
  if (count == 0)
    return fmt::format("\n{}\n",
                       in_colour(colours.good, fmt::format("Nothing stands in the way of a {}.", what), colours));
  const std::string text =
      fmt::format("{} {} in the way of a {}.", count_of(count, "thing"), count == 1 ? "stands" : "stand", what);
  return fmt::format("\n{}\n", in_colour(colours.bad, text, colours));
}

void put_problem(JsonList& list, const Problem& problem, const Obstacle* obstacle) {
  JsonObject& entry = *list.add_values()->mutable_struct_value();
  put(entry, "object", images::escaped(problem.object));
  put(entry, "reason", images::escaped(problem.reason));
  put(entry, "remedy", images::escaped(problem.remedy));
  if (!obstacle) return;
  if (obstacle->pid.get() != 0) put(entry, "pid", static_cast<double>(obstacle->pid.get()));
  if (obstacle->fd >= 0) put(entry, "fd", obstacle->fd);
}

void put_strings(JsonObject& object, const char* key, const std::vector<std::string>& lines) {
  JsonList& list = put_list(object, key);
  for (const std::string& line : lines) list.add_values()->set_string_value(images::escaped(line));
}

void put_processes(JsonObject& object, const engine::TreeReport& report) {
  JsonList& list = put_list(object, "processes");
  for (const auto& p : report.processes) {
    JsonObject& entry = *list.add_values()->mutable_struct_value();
    put(entry, "pid", static_cast<double>(p.pid.get()));
    put(entry, "parent", static_cast<double>(p.parent.get()));
    put(entry, "command", images::escaped(p.command));
    put(entry, "threads", p.threads);
    put(entry, "mappings", p.mappings);
    put(entry, "descriptors", p.descriptors);
    put(entry, "private_bytes", static_cast<double>(p.private_bytes));
    put(entry, "avx512_threads", p.avx512_threads);
    put_flag(entry, "seen", p.is_seen);
  }
}

void put_forecast(JsonObject& object, const engine::TreeReport& report) {
  JsonObject& entry = put_object(object, "forecast");
  put(entry, "image_bytes", static_cast<double>(report.forecast.image_bytes));
  put(entry, "pause_ms", static_cast<double>(report.forecast.pause_us) / 1000);
  put(entry, "live_pause_ms", static_cast<double>(report.forecast.live_us) / 1000);
  put(entry, "dump_ms", static_cast<double>(report.forecast.total_us) / 1000);
}

}  // namespace

std::string tree_text(const engine::TreeReport& report, const Colours& colours) {
  const auto& a = report.amounts;
  std::string text = fmt::format("{}{}{}, {}\n", colours.strong, count_of(a.processes, "process"), colours.plain,
                                 count_of(a.threads, "thread"));
  text += process_rows(report) + contents(report);
  if (!report.obstacles.empty()) text += title("In the way of a dump", colours);
  for (const Obstacle& obstacle : report.obstacles) text += problem_rows(obstacle.problem, colours);
  text += list_of("Not as before after a restore", report.warnings, colours);
  text += list_of("Not to be seen before the freeze", report.unseen, colours);
  text += list_of("Rights that mini-criu lacks here, and what they are for", report.rights, colours);
  text += title("Forecast", colours) + forecast_rows(report);
  text += title("Other CPUs", colours) + cpu_rows(report);
  return text + verdict(report.obstacles.size(), "dump", colours);
}

std::string tree_json(const engine::TreeReport& report) {
  JsonObject object;
  put_flag(object, "ok", report.obstacles.empty());
  put(object, "command", "check");
  put(object, "pid", static_cast<double>(report.root.get()));
  put_processes(object, report);
  JsonObject& kinds = put_object(object, "descriptors");
  for (const auto& [kind, count] : report.descriptors) put(kinds, kind.c_str(), count);
  put_strings(object, "sockets", report.sockets);
  JsonObject& bytes = put_object(object, "bytes");
  put(bytes, "private", static_cast<double>(report.amounts.private_bytes));
  put(bytes, "shared", static_cast<double>(report.amounts.shared_bytes));
  put(bytes, "files", static_cast<double>(report.amounts.file_bytes));
  JsonList& problems = put_list(object, "problems");
  for (const Obstacle& obstacle : report.obstacles) put_problem(problems, obstacle.problem, &obstacle);
  put_strings(object, "warnings", report.warnings);
  put_strings(object, "unseen", report.unseen);
  put_strings(object, "missing_rights", report.rights);
  put_strings(object, "cpu_demands", report.demands);
  put_forecast(object, report);
  return json_text(object) + "\n";
}

std::string image_text(const engine::ImageReport& report, const std::string& images_dir, const Colours& colours) {
  std::string text = fmt::format("{}{}{}: {} (pid {}) of host {}, Linux {}\n", colours.strong, images_dir,
                                 colours.plain, images::escaped(report.command), report.root,
                                 images::escaped(report.host), images::escaped(report.kernel));
  text += fmt::format("  {}, {}, {} of memory\n", count_of(report.processes, "process"),
                      count_of(report.threads, "thread"), readable_bytes(report.memory_bytes));
  if (report.own_namespaces)
    text += "  without CAP_CHECKPOINT_RESTORE it gets its pids in a user and pid namespace of its own\n";
  if (!report.problems.empty()) text += title("In the way of a restore", colours);
  for (const Problem& problem : report.problems) text += problem_rows(problem, colours);
  return text + verdict(report.problems.size(), "restore", colours);
}

std::string image_json(const engine::ImageReport& report, const std::string& images_dir) {
  JsonObject object;
  put_flag(object, "ok", report.problems.empty());
  put(object, "command", "check");
  put(object, "images_dir", absolute_folder(images_dir));
  put(object, "pid", report.root);
  put(object, "program", images::escaped(report.command));
  put(object, "host", images::escaped(report.host));
  put(object, "kernel", images::escaped(report.kernel));
  put(object, "created_unix_ms", static_cast<double>(report.created_unix_ns / 1'000'000));
  put(object, "processes", report.processes);
  put(object, "threads", report.threads);
  put(object, "memory_bytes", static_cast<double>(report.memory_bytes));
  put_flag(object, "own_namespaces", report.own_namespaces);
  JsonList& problems = put_list(object, "problems");
  for (const Problem& problem : report.problems) put_problem(problems, problem, nullptr);
  return json_text(object) + "\n";
}

}  // namespace mcr::cli
