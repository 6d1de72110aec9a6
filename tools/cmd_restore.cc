#include <fcntl.h>

#include <chrono>
#include <optional>

#include "core/base/log.h"
#include "core/engine/engine.h"
#include "core/sys/file.h"
#include "core/sys/namespaces.h"
#include "core/sys/process.h"
#include "core/sys/supervise.h"
#include "images/far_image.h"
#include "images/format.h"
#include "images/store.h"
#include "tools/action_scripts.h"
#include "tools/commands.h"
#include "tools/debugger.h"
#include "tools/foreground.h"
#include "tools/pid_file.h"
#include "tools/progress_line.h"
#include "tools/report.h"
#include "tools/standard_streams.h"

namespace mcr::cli {
namespace {

constexpr std::chrono::seconds kServerPatience{5};  // for a server that has been there

// The program runs: a folder that cannot be written to is no failure. In one piece, whoever reads it meanwhile.
void write_statistics(const std::string& folder, const engine::RestoreStatistics& figures, uint64_t receive_us) {
  constexpr char kName[] = "stats-restore.img";
  image::RestoreStatistics message;
  message.set_receive_us(receive_us);
  message.set_check_us(figures.check_us), message.set_create_us(figures.create_us);
  message.set_memory_us(figures.memory_us), message.set_threads_us(figures.threads_us);
  message.set_total_us(figures.total_us), message.set_pages_restored(figures.pages_restored);
  message.set_processes(figures.processes), message.set_threads(figures.threads);
  try {
    std::string bytes;
    images::RecordWriter records(
        [&](const void* data, size_t size) { bytes.append(static_cast<const char*>(data), size); }, kName,
        images::random_image_id());
    records.append(message);
    records.finish();
    const UniqueFd at = sys::open(folder, O_RDONLY | O_DIRECTORY);
    const std::string fresh = fmt::format(".{}-{}", kName, sys::own_pid());
    const UniqueFd file = sys::open_at(at.get(), fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    sys::write_fully(file.get(), bytes.data(), bytes.size());
    sys::rename_at(at.get(), fresh, at.get(), kName);
  } catch (const Error& error) {
    log::warning("restore", "{}/{} cannot be written: {}", folder, kName, error.reason());
  }
}

void tell(const RestoreRequest& request, const engine::Restored& restored, uint64_t receive_us) {
  log::message("restore", "Restore finished successfully.");
  log::flush();
  tell_status_descriptor(request.around.status_fd);
  if (request.around.json)
    print(restore_json(request.around.images_dir, restored.root, restored.statistics, receive_us) + "\n");
  else if (request.around.display_stats)
    print(restore_figures(restored.statistics, receive_us));
  if (request.around.display_stats) write_statistics(request.around.work_dir, restored.statistics, receive_us);
}

int end_like(const sys::ChildChange& end) {
  log::info("restore", "the program ended with {} {}", end.what == sys::ChildChange::What::killed ? "signal" : "status",
            end.number);
  log::flush();
  if (end.what == sys::ChildChange::What::killed) sys::end_by_signal(end.number);
  return end.number;
}

// Ends as gdb has ended when the program has ended too; nullopt: it goes on.
std::optional<int> debug(const Debugger& debugger, const engine::Restored& restored) {
  const sys::ChildChange end = debugger.run(restored);
  if (!sys::wait_readable(restored.pidfd.get(), 0)) return std::nullopt;
  sys::next_change(restored.pidfd.get());  // collects it
  return end.what == sys::ChildChange::What::exited ? end.number : 1;
}

int follow(Foreground& foreground, const engine::Restored& restored) {
  const sys::ChildChange end = foreground.follow(restored.root, restored.pidfd.get());
  // Process 1 of the program's namespace ends with its last process, which may be another.
  constexpr int kMilliseconds = 200;
  if (restored.init_pidfd.valid()) sys::collect_child(restored.init_pidfd.get(), kMilliseconds);
  return end_like(end);
}

}  // namespace

int run_restore(const CommandLine& line, Situation& situation) {
  RestoreRequest request = restore_request(line);
  open_log(request.around, false, situation);
  if (!request.around.server) check_seal_of(line, request.around.images_dir);
  Progress progress;
  request.options.progress = &progress;
  std::optional<ProgressLine> line_of_progress;
  line_of_progress.emplace(progress, shows_progress(request.around));
  // A signal that comes meanwhile ends us: nothing is there yet that could be told.
  uint64_t receive_us = 0;
  if (is_stream(request.around)) {
    const auto start = std::chrono::steady_clock::now();
    request.options.received = receive_image(&progress);
    const auto took = std::chrono::steady_clock::now() - start;
    receive_us = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(took).count());
  }
  if (request.around.server)
    request.options.far = std::make_shared<images::FarImage>(*request.around.server, kServerPatience);
  std::optional<Debugger> debugger;
  if (request.gdb) debugger.emplace(*request.gdb);
  std::optional<Foreground> foreground;  // also for gdb, which Ctrl-C is meant for then
  if (debugger || (!request.detached && request.exec_command.empty())) foreground.emplace();
  check_status_descriptor(request.around.status_fd);
  request.options.hook = script_hook(request.around.action_scripts, request.around.images_dir);
  std::optional<PidFile> pid_file;
  if (!request.pidfile.empty()) pid_file.emplace(request.pidfile);

  const engine::Restored restored = engine::restore(request.options, situation.damage);
  situation.concluded = true;
  line_of_progress.reset();
  request.options.received.reset();  // its memory; the program may run for days
  request.options.far.reset();

  if (pid_file) pid_file->publish(restored.root);
  if (request.stopped && !debugger) tell_standing(restored);
  tell(request, restored, receive_us);
  if (!request.exec_command.empty()) sys::become_program(request.exec_command);
  if (debugger) {
    const auto end = debug(*debugger, restored);
    if (end || request.detached) return end.value_or(0);
    foreground->forget_terminal();
  }
  return foreground ? follow(*foreground, restored) : 0;
}

}  // namespace mcr::cli
