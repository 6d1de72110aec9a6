#include <optional>

#include "core/base/log.h"
#include "core/engine/engine.h"
#include "core/sys/namespaces.h"
#include "core/sys/supervise.h"
#include "tools/action_scripts.h"
#include "tools/commands.h"
#include "tools/foreground.h"
#include "tools/pid_file.h"
#include "tools/report.h"

namespace mcr::cli {
namespace {

void tell(const RestoreRequest& request, const engine::Restored& restored) {
  log::message("restore", "Restore finished successfully.");
  log::flush();
  tell_status_descriptor(request.around.status_fd);
  if (request.around.json)
    print(restore_json(request.around.images_dir, restored.root, restored.statistics) + "\n");
  else if (request.around.display_stats)
    print(restore_figures(restored.statistics));
}

int end_like(const sys::ChildChange& end) {
  log::info("restore", "the program ended with {} {}", end.what == sys::ChildChange::What::killed ? "signal" : "status",
            end.number);
  log::flush();
  if (end.what == sys::ChildChange::What::killed) sys::end_by_signal(end.number);
  return end.number;
}

}  // namespace

int run_restore(const CommandLine& line, Situation& situation) {
  RestoreRequest request = restore_request(line);
  std::optional<Foreground> foreground;
  if (!request.detached && request.exec_command.empty()) foreground.emplace();
  open_log(request.around, false, situation);
  check_status_descriptor(request.around.status_fd);
  request.options.hook = script_hook(request.around.action_scripts, request.around.images_dir);
  std::optional<PidFile> pid_file;
  if (!request.pidfile.empty()) pid_file.emplace(request.pidfile);

  const engine::Restored restored = engine::restore(request.options, situation.damage);
  situation.concluded = true;

  if (pid_file) pid_file->publish(restored.root);
  tell(request, restored);
  if (!request.exec_command.empty()) sys::become_program(request.exec_command);
  if (!foreground) return 0;
  const sys::ChildChange end = foreground->follow(restored.root, restored.pidfd.get());
  // Process 1 of the program's namespace ends with its last process, which may be another.
  constexpr int kMilliseconds = 200;
  if (restored.init_pidfd.valid()) sys::collect_child(restored.init_pidfd.get(), kMilliseconds);
  return end_like(end);
}

}  // namespace mcr::cli
