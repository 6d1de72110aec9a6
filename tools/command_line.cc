#include "tools/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "tools/config_file.h"
#include "tools/suggestion.h"

namespace mcr::cli {
namespace {

using Words = std::vector<std::string>;

std::string names_for_parser(const Option& option) {
  std::string names = fmt::format("--{}", option.name);
  if (option.letter) names += fmt::format(",-{}", option.letter);
  if (option.takes == Takes::nothing) names += fmt::format(",!--no-{}", option.name);
  return names;
}

// The CLI11 parser made from the table; one parser for the command line and every line of a configuration file.
class Parser {
 public:
  Parser() {
    app_.set_help_flag();
    app_.allow_extras();
    for (const Option& option : options()) {
      const std::string names = names_for_parser(option);
      CLI::Option* made = option.takes == Takes::nothing ? app_.add_flag(names) : app_.add_option(names)->expected(1);
      made->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
      known_.emplace_back(&option, made);
    }
  }

  // Adds to `settings`; returns the words that are no options and no values of options.
  Words parse(Words words, Settings& settings, const std::string& origin) {
    std::ranges::reverse(words);  // as CLI11 takes them
    try {
      app_.parse(words);
    } catch (const CLI::ParseError& e) {
      usage(origin.empty() ? e.what() : fmt::format("{}: {}", origin, e.what()), "mini-criu --help lists all options");
    }
    for (const auto& [option, made] : known_)
      for (const std::string& value : made->results()) settings.add(*option, checked(*option, value), origin);
    return app_.remaining();
  }

 private:
  static std::string checked(const Option& option, const std::string& value) {
    if (option.takes == Takes::nothing && value != "true" && value != "false")
      usage(fmt::format("--{} takes no value, but was given \"{}\"", option.name, value));
    return value;
  }

  CLI::App app_;
  std::vector<std::pair<const Option*, CLI::Option*>> known_;
};

// The option that a word names, with where its attached value begins (npos: none is attached). Null for a word that
// names none or only flags.
struct NamedOption {
  const Option* option = nullptr;
  size_t value_at = std::string::npos;
};

NamedOption named_by(std::string_view word) {
  if (word.starts_with("--")) {
    const size_t equals = word.find('=');
    const Option* option = find_option(word.substr(2, equals == std::string_view::npos ? equals : equals - 2));
    return {option, equals == std::string_view::npos ? equals : equals + 1};
  }
  for (size_t at = 1; at < word.size(); ++at) {  // "-jv4": flags, then perhaps one option with a value
    const Option* option = find_option(word[at]);
    if (!option) return {};
    if (option->takes != Takes::nothing) return {option, at + 1 < word.size() ? at + 1 : std::string_view::npos};
  }
  return {};
}

// CLI11 lets an option with an optional value swallow the next word ("-v dump"), getopt does not. A "+" is put where
// such a value is missing, so that the next word stays what it is.
void mark_missing_values(Words& words, const std::string& origin) {
  for (size_t i = 0; i < words.size(); ++i) {
    if (!words[i].starts_with('-')) continue;
    const auto [option, value_at] = named_by(words[i]);
    if (!option || option->takes == Takes::nothing) continue;
    const bool attached = value_at != std::string::npos;
    if (!attached && option->takes == Takes::maybe_value) words[i] += words[i].starts_with("--") ? "=+" : "+";
    if ((attached && value_at == words[i].size()) ||
        (!attached && option->takes == Takes::value &&
         ++i == words.size()))  // the next word is its value, whatever it is
      usage(
          fmt::format("{}{}--{} needs a value ({})", origin, origin.empty() ? "" : ": ", option->name, option->value));
  }
}

Settings configured(Parser& parser, const Settings& typed, const Words& default_files) {
  std::vector<ConfigLine> lines;
  if (const auto named = typed.value("config")) {
    lines = read_config(*named);
  } else if (typed.flag("default-config")) {
    for (const std::string& file : default_files)
      for (ConfigLine& line : read_config_if_any(file)) lines.push_back(std::move(line));
  }
  Settings settings;
  for (const ConfigLine& line : lines) {
    Words words = {line.argument};
    mark_missing_values(words, line.origin);
    const Words unknown = parser.parse(words, settings, line.origin);
    if (!unknown.empty())
      usage(fmt::format("{}: unknown option {}", line.origin, unknown.front().substr(2)), option_hint(unknown.front()));
  }
  return settings;
}

const Command& built_command(const std::string& name) {
  const Command* command = find_command(name);
  if (!command) usage(fmt::format("unknown command {}", name), command_hint(name));
  if (!command->bit)
    usage(fmt::format("{} is not built yet: {}", name, command->summary), "mini-criu --help lists what is");
  return *command;
}

// Splits what is left into the command and its operands; "help dump" becomes "dump --help".
void take_operands(CommandLine& line, Words rest, const Words& behind_dashes) {
  for (const std::string& word : rest)
    if (word.starts_with('-')) usage(fmt::format("unknown option {}", word), option_hint(word));
  if (!rest.empty() && rest.front() == "help") {
    line.wants_help = true;
    rest.erase(rest.begin());
  }
  if (!rest.empty()) {
    line.command = &built_command(rest.front());
    line.operands.assign(rest.begin() + 1, rest.end());
  }
  line.operands.insert(line.operands.end(), behind_dashes.begin(), behind_dashes.end());
}

}  // namespace

CommandLine parse_command_line(Words words, const Words& config_files) {
  const auto dashes = std::ranges::find(words, "--");
  const Words behind_dashes(dashes == words.end() ? dashes : dashes + 1, words.end());
  words.erase(dashes, words.end());
  mark_missing_values(words, {});

  CommandLine line;
  Parser parser;
  Settings typed;
  const Words rest = parser.parse(words, typed, {});
  line.wants_help = typed.flag("help");
  line.wants_version = typed.flag("version");
  take_operands(line, rest, behind_dashes);
  if (line.wants_help || line.wants_version) return line;
  if (!line.command) usage("no command given", "try mini-criu dump -t PID -D DIR, or mini-criu --help");
  line.settings = configured(parser, typed, config_files);
  line.settings.merge(typed);
  line.settings.refuse_unbuilt();
  return line;
}

}  // namespace mcr::cli
