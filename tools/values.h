// From the text of an option's value to what it means. Pure; each throws Error(usage) that names the option.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/log.h"
#include "core/engine/options.h"

namespace mcr::cli {

pid_t parse_pid(std::string_view option, std::string_view text);
int parse_descriptor(std::string_view option, std::string_view text);
uint64_t parse_inode(std::string_view option, std::string_view text);
std::chrono::milliseconds parse_seconds(std::string_view option, std::string_view text);
// "30", "30s", "10m", "2h", "500ms": up to a year.
std::chrono::milliseconds parse_duration(std::string_view option, std::string_view text);
unsigned parse_count(std::string_view option, std::string_view text, unsigned most);
std::vector<int> parse_signals(std::string_view option, std::string_view text);  // "USR1,TERM"
uint64_t parse_size(std::string_view option, std::string_view text);             // bytes; "64K", "1M", "2G"
engine::FileValidation parse_validation(std::string_view option, std::string_view text);
// "fpu,ins"; "cpu", "all" and no list at all ("+"): the CPU as it was.
arch::CpuDemand parse_cpu_demand(std::string_view option, std::string_view text);
engine::Timers parse_timers(std::string_view option, std::string_view text);
tree::CgroupMode parse_cgroup_mode(std::string_view option, std::string_view text);  // "+": no value
// "/jobs/7" or "memory:/jobs/7": hierarchy (may be empty) and path.
std::pair<std::string, std::string> parse_cgroup_root(std::string_view option, std::string_view text);
// The resources of --external, as kinds::canonical_resource() spells them.
std::string parse_resource(std::string_view option, std::string_view text);
// "fd[3]:pipe[5]", "fd[3]:var/log/file": resource or absolute path, and descriptor, which must be open.
std::pair<std::string, int> parse_inherited(std::string_view option, std::string_view text);
std::pair<gpu::Uuid, gpu::Uuid> parse_gpu_pair(std::string_view option, std::string_view text);  // "GPU-…=GPU-…"
unsigned parse_streams(std::string_view option, std::string_view text);                          // 1 to 64
uint16_t parse_port(std::string_view option, std::string_view text);                             // 0 to 65535
mem::Compression parse_compression(std::string_view option, std::string_view text);
// Folds all values of -v in order: "4" sets the level, "+" (a bare -v) and "vv" (-vvv) raise it; it ends at debug.
log::Level parse_verbosity(const std::vector<std::string>& values);

}  // namespace mcr::cli
