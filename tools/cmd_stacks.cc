#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

#include "core/sys/file.h"
#include "tools/commands.h"
#include "tools/stacks_report.h"
#include "tools/values.h"

namespace mcr::cli {
namespace {

constexpr char kUsage[] = "mini-criu stacks -t PID, or mini-criu stacks DIR [PID]";

stacks::Search search_of(const Settings& settings) {
  stacks::Search search{settings.values("debug-dir")};
  search.debug_folders.emplace_back("/usr/lib/debug");
  return search;
}

stacks::TreeStacks of_running(const CommandLine& line, const stacks::Tell& tell, Situation& situation) {
  if (!line.operands.empty() || line.settings.typed("images-dir"))
    usage("stacks takes either -t PID or an image folder", kUsage);
  const HostPid root(parse_pid("tree", *line.settings.value("tree")));
  auto timeout = std::chrono::milliseconds(10'000);
  if (const auto seconds = line.settings.value("timeout")) timeout = parse_seconds("timeout", *seconds);
  return stacks::stacks_of_running(root, timeout, search_of(line.settings), tell, situation.damage);
}

// stacks DIR [PID], or stacks -D DIR [PID].
struct ImageOperands {
  std::string place;
  std::optional<int32_t> pid;
};

ImageOperands image_operands(const CommandLine& line) {
  auto operands = line.operands;
  if (line.settings.typed("images-dir")) operands.insert(operands.begin(), *line.settings.value("images-dir"));
  if (operands.empty() || operands.size() > 2) usage("stacks needs a running process or an image folder", kUsage);
  ImageOperands asked{operands[0], {}};
  if (operands.size() == 2) asked.pid = parse_pid("PID", operands[1]);
  return asked;
}

}  // namespace

int run_stacks(const CommandLine& line, Situation& situation) {
  const bool is_json = line.settings.flag("json");
  const bool styled = sys::is_terminal(STDOUT_FILENO) && std::getenv("NO_COLOR") == nullptr;
  const stacks::Tell tell = is_json ? stacks::Tell(in_json) : in_words(styled);
  stacks::TreeStacks tree;
  std::string target;
  if (const auto pid = line.settings.value("tree")) {
    target = *pid;
    tree = of_running(line, tell, situation);
  } else {
    const ImageOperands asked = image_operands(line);
    target = asked.place;
    tree = stacks::stacks_of_image(image_place(asked.place), asked.pid, search_of(line.settings), tell);
  }
  print(is_json ? stacks_json(tree, target) : stacks_text(tree, styled));
  return 0;
}

}  // namespace mcr::cli
