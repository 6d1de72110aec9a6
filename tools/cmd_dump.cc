#include <optional>

#include "core/base/log.h"
#include "core/engine/engine.h"
#include "core/sys/file.h"
#include "images/far_sink.h"
#include "tools/action_scripts.h"
#include "tools/commands.h"
#include "tools/progress_line.h"
#include "tools/report.h"
#include "tools/standard_streams.h"

namespace mcr::cli {

int run_dump(const CommandLine& line, Situation& situation) {
  DumpRequest request = dump_request(line);
  const Surroundings& around = request.around;
  std::optional<OutputStream> stream;
  if (is_stream(around)) request.options.stream = &stream.emplace(request.options.sync);
  open_log(around, !stream && !around.server, situation);
  check_status_descriptor(around.status_fd);
  std::optional<images::FarSink> server;
  if (around.server) request.options.stream = &server.emplace(*around.server);
  request.options.hook = script_hook(around.action_scripts, around.images_dir);

  Progress progress;
  request.options.progress = &progress;
  ProgressLine line_of_progress(progress, shows_progress(around));
  const image::DumpStatistics figures = engine::dump(request.options, situation.damage);
  situation.concluded = true;
  line_of_progress.stop();

  log::message("dump", "{} finished successfully", request.options.memory_only ? "Pre-dumping" : "Dumping");
  log::flush();
  tell_status_descriptor(around.status_fd);
  if (around.json) {
    print(dump_json(around.images_dir, request.options.tree, figures) + "\n");
    return 0;
  }
  if (around.display_stats) print(dump_figures(figures));
  if (sys::is_terminal(1)) print(dump_line(around.images_dir, request.options.tree, figures) + "\n");
  return 0;
}

}  // namespace mcr::cli
