#include "core/base/log.h"
#include "core/engine/engine.h"
#include "core/sys/file.h"
#include "tools/action_scripts.h"
#include "tools/commands.h"
#include "tools/report.h"

namespace mcr::cli {

int run_dump(const CommandLine& line, Situation& situation) {
  DumpRequest request = dump_request(line);
  const Surroundings& around = request.around;
  open_log(around, true, situation);
  check_status_descriptor(around.status_fd);
  request.options.hook = script_hook(around.action_scripts, around.images_dir);

  const image::DumpStatistics figures = engine::dump(request.options, situation.damage);
  situation.concluded = true;

  log::message("dump", "Dumping finished successfully");
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
