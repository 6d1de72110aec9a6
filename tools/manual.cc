#include "tools/manual.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "core/sys/file.h"
#include "tools/help.h"

namespace mcr::cli {
namespace {

// roff reads a backslash anywhere and a dot or an apostrophe at the start of a line; a bare "-" becomes a hyphen
// that cannot be copied into a shell.
std::string roff(std::string_view text) {
  std::string escaped;
  for (char c : text) {
    const bool starts_line = escaped.empty() || escaped.back() == '\n';
    if (starts_line && (c == '.' || c == '\'')) escaped += "\\&";
    if (c == '\\')
      escaped += "\\e";
    else if (c == '-')
      escaped += "\\-";
    else
      escaped += c;
  }
  return escaped;
}

std::string header(std::string_view page, std::string_view summary) {
  return fmt::format(".TH \"{}\" 1 \"\" \"mini\\-criu {}\" \"mini\\-criu\"\n.SH NAME\n{} \\- {}\n", roff(page),
                     roff(version_number()), roff(page), roff(summary));
}

std::string option_entry(const Option& option) {
  const std::string left = spelling(option);
  return fmt::format(".TP\n.B {}\n{}.\n", roff(left.substr(left.find_first_not_of(' '))), roff(option.help));
}

std::string option_section(unsigned commands) {
  std::string text = ".SH OPTIONS\nEvery flag has its \\-\\-no\\- form; the last one counts.\n";
  std::string ignored;
  for (const Option& option : options()) {
    if (!(option.commands & commands)) continue;
    if (option.state == State::built) text += option_entry(option);
    if (option.state == State::ignored) ignored += option_entry(option);
  }
  if (!ignored.empty()) text += ".SS Accepted without effect\n" + ignored;
  return text;
}

constexpr std::string_view kEnd =
    ".SH EXIT STATUS\n"
    ".TP\n.B 0\nDone.\n"
    ".TP\n.B 1\nFailed; the program is unharmed.\n"
    ".TP\n.B 2\nThe command line is wrong.\n"
    ".TP\n.B 3\nFailed; the program is perhaps harmed. The log says how.\n"
    ".TP\n.B 4\nThe images differ (diff).\n"
    ".PP\nA restore in the foreground ends as the restored program ends.\n"
    ".SH FILES\n"
    ".TP\n.I /etc/mini\\-criu/default.conf\n.TQ\n.I ~/.config/mini\\-criu/default.conf\n"
    "Options, one a line without dashes. The command line counts more.\n";

std::string see_also(std::string_view page) {
  std::string text = ".SH SEE ALSO\n";
  if (page != "mini-criu") text += ".BR mini\\-criu (1)\n";
  for (const Command& command : commands())
    if (command.bit && page != fmt::format("mini-criu-{}", command.name))
      text += fmt::format(".BR mini\\-criu\\-{} (1)\n", command.name);
  return text;
}

void write_page(const std::string& folder, const std::string& page, const std::string& text) {
  const UniqueFd fd = sys::open(fmt::format("{}/{}.1", folder, page), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  sys::write_text(fd.get(), text);
}

std::string commands_of(const Option& option) {
  if (option.commands == kAll) return "all";
  std::string names;
  for (const Command& command : commands())
    if (command.bit & option.commands) names += fmt::format("{}{}", names.empty() ? "" : ", ", command.name);
  return names;
}

// A "|" would end a cell.
std::string cell(std::string_view text) {
  std::string escaped;
  for (char c : text) escaped += c == '|' ? std::string("\\|") : std::string(1, c);
  return escaped;
}

}  // namespace

std::string overview_page() {
  std::string text = header("mini-criu", "save a running process to a folder and bring it back");
  text += ".SH SYNOPSIS\n";
  for (const Command& command : commands())
    if (command.bit) text += fmt::format(".B mini\\-criu {}\n{}\n.br\n", command.name, roff(command.operands));
  text += ".SH COMMANDS\n";
  for (const Command& command : commands())
    if (command.bit) text += fmt::format(".TP\n.B {}\n{}.\n", command.name, roff(command.summary));
  text += "\n.PP\nKnown by name, but not built yet:";
  for (const Command& command : commands())
    if (!command.bit) text += fmt::format(" {}", roff(command.name));
  return text + ".\n" + option_section(kAll) + std::string(kEnd) + see_also("mini-criu");
}

std::string command_page(const Command& command) {
  const std::string page = fmt::format("mini-criu-{}", command.name);
  std::string text = header(page, command.summary);
  text += fmt::format(".SH SYNOPSIS\n.B mini\\-criu {}\n{}\n", command.name, roff(command.operands));
  text += fmt::format(".SH DESCRIPTION\n{}\n", roff(command.description));
  return text + option_section(command.bit) + std::string(kEnd) + see_also(page);
}

void write_manual(const std::string& folder) {
  sys::try_make_directory(folder, 0755);
  write_page(folder, "mini-criu", overview_page());
  for (const Command& command : commands())
    if (command.bit) write_page(folder, fmt::format("mini-criu-{}", command.name), command_page(command));
}

std::string options_table() {
  std::string text = "| option | commands | state | what it does, what is missing, or why it does no harm |\n";
  text += "| --- | --- | --- | --- |\n";
  for (const Option& option : options()) {
    const std::string left = spelling(option);
    text += fmt::format("| `{}` | {} | {} | {}", cell(left.substr(left.find_first_not_of(' '))), commands_of(option),
                        state_name(option.state), cell(option.help));
    if (!option.harmless_value.empty())
      text += fmt::format("; `{}` is accepted, for that is what happens", option.harmless_value);
    text += " |\n";
  }
  return text;
}

}  // namespace mcr::cli
