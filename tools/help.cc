#include "tools/help.h"

#include <fmt/format.h>

namespace mcr::cli {
namespace {

constexpr size_t kWidth = 100;
constexpr size_t kColumn = 34;  // where the explanation begins

constexpr Group kGroups[] = {Group::dump,   Group::restore, Group::inspect, Group::jobs,
                             Group::common, Group::testing, Group::later};

std::string option_lines(const Option& option) {
  const std::string left = fmt::format("  {}", spelling(option));
  const std::string help = wrapped(option.help, kWidth - kColumn, kColumn);
  if (left.size() + 2 > kColumn) return fmt::format("{}\n{}{}\n", left, std::string(kColumn, ' '), help);
  return fmt::format("{:<{}}{}\n", left, kColumn, help);
}

// The options of one group that at least one of the commands has.
std::string group_lines(Group group, unsigned commands) {
  std::string text;
  for (const Option& option : options())
    if (option.group == group && option.state != State::refused && (option.commands & commands))
      text += option_lines(option);
  return text.empty() ? text : fmt::format("\n{}:\n{}", group_title(group), text);
}

std::string refused_names(unsigned commands) {
  std::string names;
  for (const Option& option : options())
    if (option.state == State::refused && (option.commands & commands)) names += fmt::format(" --{}", option.name);
  if (names.empty()) return names;
  return fmt::format("\nKnown from CRIU but not built yet (refused):\n  {}\n", wrapped(names.substr(1), kWidth - 2, 2));
}

constexpr std::string_view kFooter =
    "\nEvery flag has its \"--no-\" form; the last one counts.\n"
    "Exit codes: 0 done; 1 failed, the program unharmed; 2 wrong command line; 3 failed, the program perhaps harmed;\n"
    "4 the images differ (diff).\n";

}  // namespace

std::string version_number() {
  return MCR_VERSION;
}
std::string version_text() {
  return fmt::format("Version: {} (mini-criu)\n", version_number());
}

std::string wrapped(std::string_view text, size_t width, size_t indent) {
  std::string result;
  while (text.size() > width) {
    size_t end = text.rfind(' ', width);
    if (end == std::string_view::npos || end == 0) end = text.find(' ', width);
    if (end == std::string_view::npos) break;
    result += fmt::format("{}\n{}", text.substr(0, end), std::string(indent, ' '));
    text.remove_prefix(end + 1);
  }
  return result.append(text);
}

std::string general_help() {
  std::string text =
      "mini-criu saves a running process to a folder and brings it back.\n\n"
      "  mini-criu dump -t PID -D DIR -o dump.log\n"
      "  mini-criu restore -D DIR -o restore.log\n\n"
      "or runs it as a job and does that for you.\n\n"
      "  mini-criu run -- COMMAND [ARGUMENT]...\n"
      "  mini-criu ps | logs ID | checkpoint ID | stop ID | resume ID\n\nCommands:\n";
  std::string unbuilt;
  for (const Command& command : commands()) {
    if (command.bit)
      text += fmt::format("  {:<12}{}\n", command.name, command.summary);
    else
      unbuilt += fmt::format(" {}", command.name);
  }
  text += fmt::format("  not built yet: {}\n", wrapped(unbuilt.substr(1), kWidth - 17, 17));
  for (Group group : kGroups) text += group_lines(group, kAll);
  return text + refused_names(kAll) + std::string(kFooter);
}

std::string command_help(const Command& command) {
  std::string text =
      fmt::format("mini-criu {} {}\n\n{}\n", command.name, command.operands, wrapped(command.description, kWidth, 0));
  for (Group group : kGroups) text += group_lines(group, command.bit);
  return text + refused_names(command.bit) + std::string(kFooter);
}

}  // namespace mcr::cli
