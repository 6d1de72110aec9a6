// What dump and restore are asked to do, checked and complete: for the engine, and for what the program does around it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/log.h"
#include "core/engine/options.h"
#include "core/sys/tcp.h"
#include "tools/command_line.h"

namespace mcr::cli {

// Common to both directions.
struct Surroundings {
  std::string images_dir = ".";
  std::string work_dir = ".";
  log::Settings log;
  bool json = false;
  bool display_stats = false;
  int status_fd = -1;
  std::optional<sys::TcpPlace> server;      // --page-server: where the image goes, or is
  std::vector<std::string> action_scripts;  // absolute paths
};

bool is_stream(const Surroundings& around);               // -D -
sys::TcpPlace place_of_server(const Settings& settings);  // --address and --port; no port: 0
// Not where a script reads, and not between the many lines of a log.
bool shows_progress(const Surroundings& around);

struct DumpRequest {
  Surroundings around;
  engine::DumpOptions options;
};

struct RestoreRequest {
  Surroundings around;
  engine::RestoreOptions options;
  bool detached = false;
  std::string pidfile;                          // empty: none
  std::vector<std::string> exec_command;        // empty: none
  bool stopped = false;                         // --stopped or --gdb: the program is to be looked at
  std::optional<std::vector<std::string>> gdb;  // --gdb: its arguments
};

// Pure, except that paths are made absolute. Throw Error(usage). The hook is not set.
DumpRequest dump_request(const CommandLine& line);
RestoreRequest restore_request(const CommandLine& line);
std::string absolute_folder(const std::string& folder);  // without a slash at its end
log::Settings log_settings(const Settings& settings, const std::string& work_dir);

}  // namespace mcr::cli
