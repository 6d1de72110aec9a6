#include "tools/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <new>
#include <system_error>

#include "core/base/log.h"
#include "core/sys/rights.h"
#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/completion.h"
#include "tools/config_file.h"
#include "tools/help.h"
#include "tools/manual.h"
#include "tools/report.h"

namespace mcr::cli {
namespace {

int run_command(const CommandLine& line, Situation& situation) {
  switch (line.command->bit) {
    case kDump:
      return run_dump(line, situation);
    case kRestore:
      return run_restore(line, situation);
    case kCheck:
      return run_check(line);
    case kShow:
      return run_show(line);
    case kStat:
      return run_stat(line);
    case kExport:
      return run_export(line);
    case kImport:
      return run_import(line);
    case kMerge:
      return run_merge(line);
    case kSeal:
      return run_seal(line);
    case kUnseal:
      return run_unseal(line);
    case kKeygen:
      return run_keygen(line);
    case kVerify:
      return run_verify(line);
    case kDiff:
      return run_diff(line);
    case kLazyPages:
      return run_lazy_pages(line);
    case kPageServer:
      return run_page_server(line);
    case kStacks:
      return run_stacks(line, situation);
    case kCore:
      return run_core(line);
    case kGpu:
      return run_gpu(line, situation);
    case kRun:
      return run_run(line);
    case kPs:
      return run_ps(line);
    case kLogs:
      return run_logs(line);
    case kAttach:
      return run_attach(line);
    case kCheckpoint:
      return run_checkpoint(line);
    case kStop:
      return run_stop(line);
    case kResume:
      return run_resume(line);
    case kRemove:
      return run_rm(line);
    case kInspect:
      return run_inspect(line);
  }
  throw Error(Fault::internal, fmt::format("{} has no function", line.command->name));
}

// Not for users: the build makes the man pages, the completion of shells and the table of docs/cli.md with the program
// itself.
bool is_generator(const std::vector<std::string>& words) {
  return !words.empty() &&
         (words[0] == "generate-man" || words[0] == "generate-options-table" || words[0] == "generate-completion");
}

int run_generator(const std::vector<std::string>& words) {
  if (words[0] == "generate-options-table")
    print(options_table());
  else if (words[0] == "generate-completion" && words.size() == 2)
    print(completion_for(words[1]));
  else if (words[0] == "generate-completion")
    usage("generate-completion needs a shell", "bash, zsh and fish are there");
  else if (words.size() == 2)
    write_manual(words[1]);
  else
    usage("generate-man needs a folder");
  return 0;
}

// Whoever names a key believes that the seal is looked at.
void refuse_idle_key(const CommandLine& line) {
  if (!line.settings.typed("key") || (find_option("key")->commands & line.command->bit)) return;
  usage(fmt::format("{} does not look at seals", line.command->name), "mini-criu verify DIR --key FILE does");
}

int run_words(const std::vector<std::string>& words, Situation& situation) {
  if (is_generator(words)) return run_generator(words);
  const CommandLine line = parse_command_line(words, default_config_files());
  if (line.wants_version) {
    print(version_text());
  } else if (line.wants_help) {
    print(line.command ? command_help(*line.command) : general_help());
  } else {
    situation.command = line.command->name;
    situation.json = line.settings.flag("json");
    refuse_idle_key(line);
    return run_command(line, situation);
  }
  return 0;
}

void log_failure(const Situation& situation, const Error& error) {
  const std::string& command = situation.command;
  // Before the error, which is to stand last. On a terminal the lines would bury it; a wrong command line needs none.
  if (situation.log_in_file && error.fault() != Fault::usage) log::dump_ring();
  for (const std::string& event : situation.damage.events()) log::error(command, "Harm done: {}", event);
  if (const auto* list = dynamic_cast<const ProblemList*>(&error))
    for (const Problem& problem : list->problems()) log::error(command, "Problem: {}", problem.line());
  std::string line = failure_line(command, error);
  line.resize(std::min(line.find('\n'), line.size()));
  log::error(command, "Error ({}): {}", error.place(), line);
  if (!situation.concluded)
    log::error(command, "{}", command.ends_with("dump") ? "Dumping FAILED." : "Restoring FAILED.");
  log::flush();
}

}  // namespace

int report_failure(const Situation& situation, const Error& error) {
  const int exit_code = exit_code_of(error, situation.damage.any());
  if (situation.logging) log_failure(situation, error);
  if (!situation.logging || situation.log_in_file)
    say(fmt::format("mini-criu: {}\n", failure_line(situation.command, error)));
  if (situation.json) print(failure_json(situation.command, error, exit_code) + "\n");
  return exit_code;
}

int run(const std::vector<std::string>& words) {
  Situation situation;
  // Until the line is parsed: a script that asked for JSON gets it for a wrong command line too.
  situation.json = std::ranges::find(words, "--json") != words.end();
  try {
    sys::give_up_file_rights();
    return run_words(words, situation);
  } catch (const Error& error) {
    return report_failure(situation, error);
  } catch (const std::bad_alloc&) {
    return report_failure(situation, Error(Fault::system, "memory is exhausted", "free memory, or raise its limit"));
  } catch (const std::system_error& error) {  // of the library, for threads
    return report_failure(situation, Error(Fault::system, fmt::format("no thread can be made: {}", error.what()),
                                           "raise the limit of processes (ulimit -u, pids.max of the control group, "
                                           "/proc/sys/kernel/pid_max), or end some"));
  } catch (const std::exception& error) {
    return report_failure(situation, Error(Fault::internal, error.what(), "this is a defect of mini-criu"));
  }
}

}  // namespace mcr::cli
