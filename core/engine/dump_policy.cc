#include "core/engine/dump_policy.h"

#include <time.h>

#include "core/sys/process.h"

namespace mcr::engine {
namespace {

// A program that is left running or stopped keeps its connections.
std::string lock_table_of(const DumpOptions& options) {
  if (!options.lock_network || options.leave_running || options.leave_stopped) return {};
  return fmt::format("mini-criu-{}-{:x}", options.tree, sys::clock_ns(CLOCK_BOOTTIME) / 1'000'000);
}

}  // namespace

kinds::DumpPolicy dump_policy(const DumpOptions& options) {
  return {options.shell_job,
          options.ghost_limit,
          options.validation == FileValidation::buildid,
          options.link_remap,
          options.file_locks,
          options.external,
          options.tcp_established,
          options.tcp_close,
          options.skip_in_flight,
          lock_table_of(options),
          false,
          options.outside_unix_peers,
          options.outside_masters};
}

kinds::DumpPolicy policy_of_look(kinds::DumpPolicy policy) {
  policy.gpu_devices_close = true;
  return policy;
}

}  // namespace mcr::engine
