#include "tools/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "tools/config_file.h"
#include "tools/suggestion.h"

namespace mcr::cli {
namespace {

using Words = std::vector<std::string>;

// Empty for one that is typed as another option of that command is.
std::string names_for_parser(const Option& option, unsigned command) {
  if (find_option(option.typed_name(), command) != &option) return {};
  std::string names = fmt::format("--{}", option.typed_name());
  if (find_option(option.letter, command) == &option) names += fmt::format(",-{}", option.letter);
  if (option.takes == Takes::nothing) names += fmt::format(",!--no-{}", option.typed_name());
  return names;
}

// The CLI11 parser made from the table; one parser for the command line and every line of a configuration file.
class Parser {
 public:
  explicit Parser(unsigned command) {
    app_.set_help_flag();
    app_.allow_extras();
    for (const Option& option : options()) {
      const std::string names = names_for_parser(option, command);
      if (names.empty()) continue;
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

NamedOption named_by(std::string_view word, unsigned command) {
  if (word.starts_with("--")) {
    const size_t equals = word.find('=');
    const Option* option = find_option(word.substr(2, equals == std::string_view::npos ? equals : equals - 2), command);
    return {option, equals == std::string_view::npos ? equals : equals + 1};
  }
  for (size_t at = 1; at < word.size(); ++at) {  // "-jv4": flags, then perhaps one option with a value
    const Option* option = find_option(word[at], command);
    if (!option) return {};
    if (option->takes != Takes::nothing) return {option, at + 1 < word.size() ? at + 1 : std::string_view::npos};
  }
  return {};
}

// CLI11 lets an option with an optional value swallow the next word ("-v dump"), getopt does not. A "+" is put where
// such a value is missing, so that the next word stays what it is.
void mark_missing_values(Words& words, unsigned command, const std::string& origin) {
  for (size_t i = 0; i < words.size(); ++i) {
    if (!words[i].starts_with('-')) continue;
    const auto [option, value_at] = named_by(words[i], command);
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

// The place of the first word that is neither an option nor the value of one.
size_t place_of_command(const Words& words, size_t at = 0) {
  for (; at < words.size() && words[at].starts_with('-') && words[at] != "-" && words[at] != "--"; ++at) {
    const auto [option, value_at] = named_by(words[at], 0);
    if (option && option->takes == Takes::value && value_at == std::string::npos) ++at;
  }
  return at;
}

// "-d DIR" of "dump job"; elsewhere that letter is restore's.
void spell_dump_job(Words& words, size_t from) {
  bool goes_on = false;
  Words spelt;
  for (size_t i = from; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "-R" || word == "--leave-running")
      goes_on = true;
    else if (word == "-d" || word == "--dir")
      spelt.push_back("--into");
    else if (word.starts_with("--dir="))
      spelt.push_back("--into=" + word.substr(6));
    else
      spelt.push_back(word);
  }
  spelt.push_back("--display-stats");
  if (!goes_on) spelt.push_back("--stop");
  words.resize(from);
  words.insert(words.end(), spelt.begin(), spelt.end());
}

// "dump job ID -d DIR" and "restore job ID", as other tools have it. dump and restore themselves take no operand.
void spell_job_words(Words& words) {
  const size_t at = place_of_command(words), operand = place_of_command(words, std::min(at + 1, words.size()));
  if (operand >= words.size() || words[operand] != "job") return;
  const bool is_dump = words[at] == "dump";
  if (!is_dump && words[at] != "restore") return;
  words[at] = is_dump ? "checkpoint" : "resume";
  words.erase(words.begin() + static_cast<Words::difference_type>(operand));
  if (is_dump)
    spell_dump_job(words, at + 1);
  else
    std::erase_if(words, [](const std::string& word) { return word == "-d" || word == "--restore-detached"; });
}

// "run -t": elsewhere that letter is dump's.
void spell_terminal(Words& words) {
  size_t at = place_of_command(words);
  if (at >= words.size() || (words[at] != "run" && words[at] != "exec")) return;
  for (++at; at < words.size() && words[at].starts_with('-') && words[at] != "--"; ++at) {
    const bool follows = words[at] == "-tf" || words[at] == "-ft";
    if (words[at] == "-t" || follows) words[at] = "--tty";
    if (follows) words.insert(words.begin() + static_cast<Words::difference_type>(at) + 1, "--follow");
    const auto [option, value_at] = named_by(words[at], kRun);
    if (option && option->takes == Takes::value && value_at == std::string::npos) ++at;
  }
}

// "run -f --id a python3 train.py --epochs 3": the options of run end where its command begins.
void mark_command(Words& words) {
  bool in_run = false;
  for (size_t i = 0; i < words.size() && words[i] != "--"; ++i) {
    if (words[i].starts_with('-') && words[i] != "-") {
      const auto [option, value_at] = named_by(words[i], kRun);
      if (option && option->takes == Takes::value && value_at == std::string::npos) ++i;
    } else if (in_run) {
      words.insert(words.begin() + static_cast<Words::difference_type>(i), "--");
      return;
    } else if (words[i] != "run" && words[i] != "exec") {
      return;
    } else {
      in_run = true;
    }
  }
}

// The bit of the command that the words are for; 0: they name none, or none that is built.
unsigned command_of(const Words& words) {
  for (size_t i = 0; i < words.size() && words[i] != "--"; ++i) {
    if (!words[i].starts_with('-') || words[i] == "-") {
      if (words[i] == "help") continue;
      const Command* command = find_command(words[i]);
      return command ? command->bit : 0;
    }
    const auto [option, value_at] = named_by(words[i], 0);
    if (option && option->takes == Takes::value && value_at == std::string::npos) ++i;
  }
  return 0;
}

Settings configured(Parser& parser, unsigned command, const Settings& typed, const Words& default_files) {
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
    mark_missing_values(words, command, line.origin);
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
    if (word.starts_with('-') && word != "-") usage(fmt::format("unknown option {}", word), option_hint(word));
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
  spell_job_words(words);
  spell_terminal(words);
  mark_command(words);
  const auto dashes = std::ranges::find(words, "--");
  const Words behind_dashes(dashes == words.end() ? dashes : dashes + 1, words.end());
  words.erase(dashes, words.end());
  const unsigned command = command_of(words);
  mark_missing_values(words, command, {});

  CommandLine line;
  Parser parser(command);
  Settings typed;
  const Words rest = parser.parse(words, typed, {});
  line.wants_help = typed.flag("help");
  line.wants_version = typed.flag("version");
  take_operands(line, rest, behind_dashes);
  if (line.wants_help || line.wants_version) return line;
  if (!line.command) usage("no command given", "try mini-criu dump -t PID -D DIR, or mini-criu --help");
  line.settings = configured(parser, command, typed, config_files);
  line.settings.merge(typed);
  line.settings.refuse_unbuilt();
  return line;
}

}  // namespace mcr::cli
