// What a dump or a restore would meet, without doing it: `check -t PID`, `check -D DIR`. Nothing is stopped, traced or
// made. The checks are those of dump and restore themselves.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/base/obstacles.h"
#include "core/engine/forecast.h"
#include "core/engine/options.h"

namespace mcr::engine {

struct ProcessReport {
  HostPid pid, parent;
  std::string command;  // with its arguments; any bytes
  bool has_ended = false;
  bool is_seen = true;  // else the caller may not look into it, and the numbers are 0
  uint32_t threads = 0, mappings = 0, descriptors = 0;
  uint64_t private_bytes = 0;   // what has content of its own; of memory that processes share, with the first
  uint32_t avx512_threads = 0;  // that have used it lately, as the kernel tells
};

struct TreeReport {
  HostPid root;
  std::vector<ProcessReport> processes;         // parents before children
  std::map<std::string, uint32_t> descriptors;  // by kind
  std::vector<std::string> sockets;             // those of IP, and unix sockets with a name; any bytes
  Amounts amounts;
  std::vector<Obstacle> obstacles;
  std::vector<std::string> warnings;  // not in the way, but something will not be as before
  std::vector<std::string> unseen;    // what can only be asked when the program stands still
  std::vector<std::string> rights;    // that are missing, and what they are for
  std::vector<std::string> demands;   // of the CPU, beyond x86-64-v2
  Forecast forecast;
};

// Throws Error when there is nothing to look at: no such process, a kernel thread, mini-criu itself, ...
TreeReport examine_tree(const DumpOptions& options);

struct ImageReport {
  int32_t root = 0;
  std::string command, host, kernel;
  uint64_t created_unix_ns = 0;
  uint32_t processes = 0, threads = 0;
  uint64_t memory_bytes = 0;    // to be restored
  bool own_namespaces = false;  // the program gets its pids in namespaces of its own
  std::vector<Problem> problems;
};

// Throws Fault::image when it is none, or damaged. Pages are not read: `verify` does.
ImageReport examine_image(const RestoreOptions& options);

}  // namespace mcr::engine
