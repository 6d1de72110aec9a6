#include "tools/completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "tools/option_table.h"
#include "tools/settings.h"

namespace mcr::cli {
namespace {

// Commands whose operands are jobs.
constexpr unsigned kTakesJob = kLogs | kAttach | kCheckpoint | kStop | kResume | kRemove | kInspect;
// The ids in the first column of ps; lines with blanks before are about the job above.
constexpr std::string_view kListJobs = "mini-criu ps 2>/dev/null | sed -n '1d;/^ /d;/^No /d;s/ .*//p'";

std::vector<const Option*> options_of(const Command& command) {
  std::vector<const Option*> all;
  for (const Option& option : options())
    if (option.state == State::built && (option.commands & command.bit)) all.push_back(&option);
  return all;
}

// "filesize|buildid|none": the values there are; otherwise none are known.
std::vector<std::string> choices_of(const Option& option) {
  std::vector<std::string> words(1);
  for (const char c : option.value) {
    if (c == '|')
      words.emplace_back();
    else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')
      words.back() += c;
    else
      return {};
  }
  return words.size() > 1 ? words : std::vector<std::string>();
}

bool is_folder(const Option& option) {
  return option.value == "DIR";
}

// Up to the first end of a sentence: one line in a menu.
std::string_view short_help(std::string_view help) {
  return help.substr(0, std::min({help.find(" ("), help.find(". "), help.find("; "), help.size()}));
}

std::string quoted(std::string_view text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

std::vector<std::string> spellings(const Command& command) {
  std::vector<std::string> words;
  for (const Option* option : options_of(command)) {
    words.push_back(shown_name(*option));
    if (option->letter) words.push_back(fmt::format("-{}", option->letter));
  }
  return words;
}

std::string bash_values() {
  std::string text;
  for (const Option& option : options()) {
    if (option.state != State::built || option.takes != Takes::value) continue;
    const std::string names =
        option.letter ? fmt::format("--{}|-{}", option.name, option.letter) : fmt::format("--{}", option.name);
    if (const auto choices = choices_of(option); !choices.empty())
      text += fmt::format("    {}) COMPREPLY=($(compgen -W '{}' -- \"$cur\")); return ;;\n", names,
                          fmt::join(choices, " "));
    else if (is_folder(option))
      text += fmt::format("    {}) COMPREPLY=($(compgen -d -- \"$cur\")); return ;;\n", names);
    else
      text += fmt::format("    {}) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", names);
  }
  return text;
}

std::string bash_completion() {
  std::vector<std::string_view> names;
  std::string cases, with_value;
  for (const Command& command : commands()) {
    if (!command.bit) continue;
    names.push_back(command.name);
    cases += fmt::format("    {}) words='{}'{} ;;\n", command.name, fmt::join(spellings(command), " "),
                         command.bit & kTakesJob ? "; takes_job=1" : "");
  }
  for (const Option& option : options())
    if (option.state == State::built && option.takes == Takes::value) {
      with_value += fmt::format("{}--{}", with_value.empty() ? "" : "|", option.name);
      if (option.letter) with_value += fmt::format("|-{}", option.letter);
    }
  return fmt::format(R"---(# Completion of mini-criu for bash, made from its table of options.
_mini_criu() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} command='' words='' takes_job='' i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case ${{COMP_WORDS[i]}} in
    {}) ((++i)) ;;
    -*) ;;
    *) command=${{COMP_WORDS[i]}}; break ;;
    esac
  done
  case $previous in
{}  esac
  case $command in
    '') words='{}' ;;
{}  esac
  if [[ -z $command || $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  elif [[ -n $takes_job ]]; then
    COMPREPLY=($(compgen -W "$({})" -- "$cur"))
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}}
complete -o filenames -F _mini_criu mini-criu
)---",
                     with_value, bash_values(), fmt::join(names, " "), cases, kListJobs);
}

// In a specification of _arguments these have a meaning.
std::string zsh_escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':') result += '\\';
    result += c;
  }
  return result;
}

std::string zsh_option(const Option& option) {
  std::string action;
  if (option.takes == Takes::value) {
    const auto choices = choices_of(option);
    action = fmt::format(":{}:{}", zsh_escaped(option.value),
                         !choices.empty()    ? fmt::format("({})", fmt::join(choices, " "))
                         : is_folder(option) ? "_files -/"
                                             : "_files");
  }
  const std::string help = fmt::format("[{}]", zsh_escaped(short_help(option.help)));
  const char* equals = option.takes == Takes::value ? "=" : "";
  std::string text =
      fmt::format("    {} \\\n", quoted(fmt::format("*{}{}{}{}", shown_name(option), equals, help, action)));
  if (option.letter)
    text +=
        fmt::format("    {} \\\n", quoted(fmt::format("*-{}{}{}{}", option.letter, *equals ? "+" : "", help, action)));
  return text;
}

std::string zsh_completion() {
  std::string names, cases;
  for (const Command& command : commands()) {
    if (!command.bit) continue;
    names += fmt::format("  {}\n", quoted(fmt::format("{}:{}", command.name, zsh_escaped(command.summary))));
    cases += fmt::format("  {})\n  _arguments \\\n", command.name);
    for (const Option* option : options_of(command)) cases += zsh_option(*option);
    cases += fmt::format("    {} ;;\n", command.bit & kTakesJob ? "'*:job:_mini_criu_jobs'"
                                        : command.bit == kRun   ? "'*::command:_normal'"
                                                                : "'*:file:_files'");
  }
  return fmt::format(R"---(#compdef mini-criu
# Completion of mini-criu for zsh, made from its table of options.
_mini_criu_jobs() {{
  local -a ids
  ids=(${{(f)"$({})"}})
  compadd -a ids
}}
local -a commands
commands=(
{})
if (( CURRENT == 2 )); then
  _describe command commands
  return
fi
local command=$words[2]
shift words
(( CURRENT-- ))
case $command in
{}esac
)---",
                     kListJobs, names, cases);
}

std::string fish_completion() {
  std::string text =
      fmt::format("# Completion of mini-criu for fish, made from its table of options.\ncomplete -c mini-criu -f\n");
  for (const Command& command : commands()) {
    if (!command.bit) continue;
    text += fmt::format("complete -c mini-criu -n __fish_use_subcommand -a {} -d {}\n", command.name,
                        quoted(command.summary));
    const std::string when = fmt::format("-n '__fish_seen_subcommand_from {}'", command.name);
    for (const Option* option : options_of(command)) {
      text += fmt::format("complete -c mini-criu {} -l {}", when, shown_name(*option).substr(2));
      if (option->letter) text += fmt::format(" -s {}", option->letter);
      if (option->takes == Takes::value) {
        const auto choices = choices_of(*option);
        text += choices.empty() ? " -r -F" : fmt::format(" -x -a '{}'", fmt::join(choices, " "));
      }
      text += fmt::format(" -d {}\n", quoted(short_help(option->help)));
    }
    if (command.bit & kTakesJob) text += fmt::format("complete -c mini-criu {} -a \"({})\"\n", when, kListJobs);
    if (command.bit == kRun) text += fmt::format("complete -c mini-criu {} -a '(__fish_complete_command)'\n", when);
    if (!(command.bit & (kTakesJob | kRun | kPs))) text += fmt::format("complete -c mini-criu {} -F\n", when);
  }
  return text;
}

}  // namespace

std::string completion_for(std::string_view shell) {
  if (shell == "bash") return bash_completion();
  if (shell == "zsh") return zsh_completion();
  if (shell == "fish") return fish_completion();
  usage(fmt::format("there is no completion for {}", shell), "bash, zsh and fish are there");
}

}  // namespace mcr::cli
