#include "tools/report.h"

#include <fmt/ranges.h>

#include "core/sys/process.h"
#include "tools/json_object.h"
#include "tools/request.h"
#include "tools/standard_streams.h"

namespace mcr::cli {
namespace {

double ms(uint64_t microseconds) {
  return static_cast<double>(microseconds) / 1000.0;
}

JsonObject success(const char* command, const std::string& images_dir, HostPid pid) {
  JsonObject object;
  put_flag(object, "ok", true);
  put(object, "command", command);
  put(object, "images_dir", absolute_folder(images_dir));
  put(object, "pid", static_cast<double>(pid.get()));
  return object;
}

std::string time_row(std::string_view what, uint64_t microseconds) {
  return fmt::format("  {:<28}{:>12.3f} ms\n", what, ms(microseconds));
}
std::string count_row(std::string_view what, uint64_t count) {
  return fmt::format("  {:<28}{:>12}\n", what, count);
}
std::string size_row(std::string_view what, uint64_t bytes) {
  return fmt::format("  {:<28}{:>12}\n", what, readable_bytes(bytes));
}

// A ProblemList's reason holds its problems as further lines; as data they stand in "problems".
std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

std::vector<std::string> trail_with(const std::string& command, const Error& error) {
  std::vector<std::string> trail = error.trail();
  if (!command.empty() && (trail.empty() || trail.front() != command)) trail.insert(trail.begin(), command);
  return trail;
}

}  // namespace

std::string readable_bytes(uint64_t bytes) {
  constexpr std::string_view kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double amount = static_cast<double>(bytes);
  size_t unit = 0;
  for (; amount >= 1024 && unit + 1 < std::size(kUnits); ++unit) amount /= 1024;
  return fmt::format("{:.{}f} {}", amount, unit == 0 || amount >= 100 ? 0 : 1, kUnits[unit]);
}

std::string dump_json(const std::string& images_dir, HostPid tree, const image::DumpStatistics& figures) {
  JsonObject object = success("dump", images_dir, tree);
  JsonObject& times = put_object(object, "times_ms");
  put(times, "look", ms(figures.look_us()));
  put(times, "freeze", ms(figures.freeze_us()));
  put(times, "frozen", ms(figures.frozen_us()));
  put(times, "state", ms(figures.state_us()));
  put(times, "memory", ms(figures.memory_us()));
  put(times, "commit", ms(figures.commit_us()));
  if (figures.gpu_save_us() != 0) {
    put(times, "gpu_lock", ms(figures.gpu_lock_us()));
    put(times, "gpu_save", ms(figures.gpu_save_us()));
    put(times, "gpu_back", ms(figures.gpu_back_us()));
  }
  put(times, "total", ms(figures.total_us()));
  JsonObject& bytes = put_object(object, "bytes");
  put(bytes, "image", static_cast<double>(figures.image_bytes()));
  put(bytes, "pages", static_cast<double>(figures.pages_written() * sys::page_size()));
  JsonObject& counts = put_object(object, "counts");
  put(counts, "processes", figures.processes());
  put(counts, "threads", figures.threads());
  put(counts, "descriptors", figures.descriptors());
  put(counts, "mappings", figures.mappings());
  put(counts, "pages_scanned", static_cast<double>(figures.pages_scanned()));
  put(counts, "pages_written", static_cast<double>(figures.pages_written()));
  return json_text(object);
}

std::string restore_json(const std::string& images_dir, HostPid root, const engine::RestoreStatistics& figures,
                         uint64_t receive_us) {
  JsonObject object = success("restore", images_dir, root);
  JsonObject& times = put_object(object, "times_ms");
  if (receive_us != 0) put(times, "receive", ms(receive_us));
  put(times, "check", ms(figures.check_us));
  put(times, "create", ms(figures.create_us));
  put(times, "memory", ms(figures.memory_us));
  put(times, "threads", ms(figures.threads_us));
  if (figures.gpu_us != 0) put(times, "gpu", ms(figures.gpu_us));
  put(times, "total", ms(figures.total_us));
  put(put_object(object, "bytes"), "pages", static_cast<double>(figures.pages_restored * sys::page_size()));
  JsonObject& counts = put_object(object, "counts");
  put(counts, "processes", figures.processes);
  put(counts, "threads", figures.threads);
  put(counts, "pages_restored", static_cast<double>(figures.pages_restored));
  return json_text(object);
}

std::string failure_json(const std::string& command, const Error& error, int exit_code) {
  JsonObject object;
  put_flag(object, "ok", false);
  put(object, "command", command);
  put(object, "fault", fault_name(error.fault()));
  put(object, "object", object_of(command, error));
  put(object, "reason", first_line(error.reason()));
  put(object, "remedy", error.remedy());
  put(object, "place", error.place());
  put(object, "errno", error.code());
  put(object, "exit_code", exit_code);
  JsonList& trail = put_list(object, "trail");
  for (const std::string& step : trail_with(command, error)) trail.add_values()->set_string_value(step);
  JsonList& problems = put_list(object, "problems");
  if (const auto* list = dynamic_cast<const ProblemList*>(&error)) {
    for (const Problem& problem : list->problems()) {
      JsonObject& entry = *problems.add_values()->mutable_struct_value();
      put(entry, "object", problem.object);
      put(entry, "reason", problem.reason);
      put(entry, "remedy", problem.remedy);
    }
  }
  return json_text(object);
}

std::string dump_line(const std::string& images_dir, HostPid tree, const image::DumpStatistics& figures) {
  const std::string place = images_dir == kStream ? "as a stream" : "in " + images_dir;
  return fmt::format("Saved pid {} {}: {}, frozen for {:.1f} ms, {:.1f} ms in all", tree, place,
                     readable_bytes(figures.image_bytes()), ms(figures.frozen_us()), ms(figures.total_us()));
}

std::string dump_figures(const image::DumpStatistics& figures) {
  std::string text = "Figures of the dump:\n";
  text += time_row("checks before the freeze", figures.look_us());
  if (figures.gpu_save_us() != 0) {
    text += time_row("GPU work halted", figures.gpu_lock_us());
    text += time_row("GPU to host memory", figures.gpu_save_us());
    if (figures.gpu_back_us() != 0) text += time_row("host memory to GPU", figures.gpu_back_us());
  }
  text += time_row("freeze", figures.freeze_us());
  text += time_row("frozen (the pause)", figures.frozen_us());
  text += time_row("state", figures.state_us());
  text += time_row("memory", figures.memory_us());
  text += time_row("commit", figures.commit_us());
  text += time_row("in all", figures.total_us());
  text += count_row("processes", figures.processes());
  text += count_row("threads", figures.threads());
  text += count_row("descriptors", figures.descriptors());
  text += count_row("mappings", figures.mappings());
  text += count_row("pages looked at", figures.pages_scanned());
  text += count_row("pages written", figures.pages_written());
  return text + size_row("image", figures.image_bytes());
}

std::string restore_figures(const engine::RestoreStatistics& figures, uint64_t receive_us) {
  std::string text = "Figures of the restore:\n";
  if (receive_us != 0) text += time_row("stream received before it", receive_us);
  text += time_row("checks before the start", figures.check_us);
  text += time_row("processes made", figures.create_us);
  text += time_row("memory", figures.memory_us);
  text += time_row("threads", figures.threads_us);
  if (figures.gpu_us != 0) text += time_row("host memory to GPU", figures.gpu_us);
  text += time_row("in all", figures.total_us);
  text += count_row("processes", figures.processes);
  text += count_row("threads", figures.threads);
  return text + count_row("pages restored", figures.pages_restored);
}

std::string object_of(const std::string& command, const Error& error) {
  return fmt::format("{}", fmt::join(trail_with(command, error), " > "));
}

std::string failure_line(const std::string& command, const Error& error) {
  const std::string object = object_of(command, error);
  return fmt::format("{}{}{}{}{}", object, object.empty() ? "" : ": ", error.reason(),
                     error.remedy().empty() ? "" : "; ", error.remedy());
}

int exit_code_of(const Error& error, bool harmed) {
  if (harmed) return 3;
  return error.fault() == Fault::usage ? 2 : 1;
}

}  // namespace mcr::cli
