// What /proc says of the processes of a frozen tree, read by a thread of the engine while the one before is infected
// and asked. The reading takes much of the time of a dump, and none of it needs the tracer.
#pragma once

#include <condition_variable>
#include <exception>
#include <future>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "core/engine/shared_tables.h"
#include "core/engine/thread_files.h"
#include "core/procfs/maps.h"
#include "core/trace/frozen_tree.h"

namespace mcr::engine {

struct ProcessTexts {
  std::string status, leader_status, stat;          // as in /proc/PID; of FrozenProcess::view(), and of the leader
  std::vector<procfs::Mapping> mappings;            // of smaps; empty: another process has the same memory
  bool has_early_mappings = false;                  // these were read before the freeze
  std::optional<std::vector<ThreadFiles>> threads;  // nullopt: very many, which are read when they are asked for
};

class EarlyMappings;

std::vector<procfs::Mapping> read_smaps(HostPid pid);

// As it is now. `has_own_memory`: nothing but its own parasite can change what smaps says. Throws what the reading
// throws.
// `early`: what was read before the freeze; null where another process has the same memory: calls of that one would not
// have been seen.
ProcessTexts read_process_texts(const trace::FrozenProcess& process, bool has_own_memory, const EarlyMappings* early);

// The processes must live and stand still as long as this does. No more than a few are read ahead.
class ReadAhead {
 public:
  ReadAhead(const trace::FrozenTree& tree, const SharedTables& tables, const EarlyMappings& early);
  ~ReadAhead();
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;
  // In the order of the tree, each once, before anything is put into the process.
  ProcessTexts take(const trace::FrozenProcess& process);

 private:
  struct Work {
    const trace::FrozenProcess* process;
    bool has_own_memory;
    const EarlyMappings* early;
  };
  void run();

  std::vector<Work> work_;
  std::mutex lock_;
  std::condition_variable changed_;
  std::map<const trace::FrozenProcess*, std::optional<ProcessTexts>> ready_;  // nullopt: it could not be read
  size_t taken_ = 0;
  bool is_over_ = false;      // nobody wants more
  bool is_given_up_ = false;  // nothing more is read
  std::future<void> thread_;
};

}  // namespace mcr::engine
