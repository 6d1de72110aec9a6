// The one table of commands and options. Parsing, refusals, --help, the man pages and docs/cli.md are made from it,
// so that none of them can say something else.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace mcr::cli {

enum CommandBit : unsigned {
  kDump = 1,
  kRestore = 2,
  kCheck = 4,
  kShow = 8,
  kVerify = 16,
  kDiff = 32,
  kRun = 64,
  kPs = 128,
  kLogs = 256,
  kCheckpoint = 512,
  kStop = 1024,
  kResume = 2048,
  kRemove = 4096,
  kInspect = 8192,
  kGpu = 16384,
  kAttach = 32768,
  kLazyPages = 1u << 16,
  kPageServer = 1u << 17,
  kStat = 1u << 20,
  kExport = 1u << 21,
  kImport = 1u << 22,
  kMerge = 1u << 23,
  kSeal = 1u << 24,
  kUnseal = 1u << 25,
  kKeygen = 1u << 26,
  kStacks = 1u << 27,
  kCore = 1u << 28,
  kAll = ~0u
};
inline constexpr unsigned kJobs = kRun | kPs | kLogs | kAttach | kCheckpoint | kStop | kResume | kRemove | kInspect;

struct Command {
  std::string_view name;
  unsigned bit;               // 0: known, but not built yet
  std::string_view operands;  // of the synopsis
  std::string_view summary;   // one line; for a command that is not built: what it is for
  std::string_view description;
};

enum class Takes {
  nothing,     // a flag; "--no-NAME" takes it back
  value,       // "-t 5", "-t5", "--tree 5", "--tree=5"
  maybe_value  // only attached, as getopt's optional arguments: "-v4", "--verbosity=4"
};

enum class State {
  built,
  refused,  // known by name, not built yet: exit code 2
  ignored   // accepted, and the help says why leaving it aside does no harm
};

enum class Group { common, dump, restore, inspect, jobs, testing, later };

struct Option {
  std::string_view name;  // without dashes
  char letter = 0;        // of the short form; 0: none
  Takes takes = Takes::nothing;
  std::string_view value;  // what --help calls the value
  unsigned commands = kAll;
  State state = State::built;
  Group group = Group::common;
  std::string_view help;                 // built: what it does; refused: what is missing; ignored: why it does no harm
  bool repeats = false;                  // every value counts, not only the last
  bool starts_on = false;                // a flag that is on unless "--no-NAME" is given
  std::string_view harmless_value = {};  // the one value of a refused option that asks for what happens anyway
  std::string_view typed = {};           // as it is typed, where an option of another command has that name; or `name`
  std::string_view typed_name() const { return typed.empty() ? name : typed; }
};

std::span<const Command> commands();
std::span<const Option> options();

const Command* find_command(std::string_view name);
// As typed, without dashes; where several are typed alike, that of the command (a CommandBit; 0: not known).
const Option* find_option(std::string_view name, unsigned command = 0);
const Option* find_option(char letter, unsigned command = 0);
const Option& option(std::string_view name);  // by its name; throws Error(internal) when the table lacks it

std::string_view group_title(Group group);
std::string_view state_name(State state);
std::string spelling(const Option& option);    // "-t, --tree PID"
std::string shown_name(const Option& option);  // "--tree", or "--no-sync" for a flag that starts on

}  // namespace mcr::cli
