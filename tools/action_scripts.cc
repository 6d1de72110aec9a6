#include "tools/action_scripts.h"

#include <fmt/format.h>

#include "core/base/log.h"
#include "core/sys/supervise.h"
#include "tools/request.h"

namespace mcr::cli {
namespace {

void run_script(const std::string& script, std::string_view action, const std::vector<std::string>& environment) {
  const Step step("script {} for {}", script, action);
  log::info("script", "running {} for {}", script, action);
  const sys::ChildChange end = sys::run_program(script, environment);
  if (end.what == sys::ChildChange::What::exited && end.number == 0) return;
  const bool killed = end.what == sys::ChildChange::What::killed;
  throw Error(Fault::refused, fmt::format("it ended with {} {}", killed ? "signal" : "status", end.number),
              "see what the script printed");
}

}  // namespace

std::vector<std::string> script_environment(std::string_view action, const std::string& images_dir, HostPid root) {
  std::vector<std::string> environment;
  for (std::string_view prefix : {"CRTOOLS", "MCR"}) {
    environment.push_back(fmt::format("{}_SCRIPT_ACTION={}", prefix, action));
    environment.push_back(fmt::format("{}_IMAGE_DIR={}", prefix, images_dir));
    if (root.get() > 0) environment.push_back(fmt::format("{}_INIT_PID={}", prefix, root));
  }
  return environment;
}

engine::Hook script_hook(const std::vector<std::string>& scripts, const std::string& images_dir) {
  if (scripts.empty()) return {};
  for (const std::string& script : scripts)
    if (!sys::is_executable(script))
      usage(fmt::format("--action-script: {} cannot be run", script), "check its name and its permissions");
  const std::string folder = absolute_folder(images_dir);
  return [scripts, folder](std::string_view action, HostPid root) {
    const std::vector<std::string> environment = script_environment(action, folder, root);
    for (const std::string& script : scripts) run_script(script, action, environment);
  };
}

}  // namespace mcr::cli
