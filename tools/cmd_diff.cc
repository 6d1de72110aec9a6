#include <fmt/format.h>

#include <algorithm>

#include "images/diff.h"
#include "tools/commands.h"

namespace mcr::cli {

int run_diff(const CommandLine& line) {
  if (line.operands.size() != 2)
    usage(fmt::format("diff takes two image folders, but was given {}", line.operands.size()),
          "mini-criu diff BEFORE AFTER");
  const auto differences = images::diff(line.operands[0], line.operands[1]);
  print(line.settings.flag("json") ? images::diff_json(differences)
                                   : images::diff_text(differences, line.settings.flag("expected")));
  const bool same = std::ranges::all_of(differences, [](const auto& d) { return !d.reason.empty(); });
  return same ? 0 : kImagesDiffer;
}

}  // namespace mcr::cli
