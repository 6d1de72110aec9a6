#include "tools/values.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include "core/base/bounds.h"
#include "core/kinds/external.h"
#include "core/sys/child.h"
#include "core/sys/file.h"
#include "images/run_shape.h"
#include "tools/settings.h"

namespace mcr::cli {
namespace {

// Digits only: no sign, no blank, nothing behind them.
std::optional<uint64_t> whole_number(std::string_view text) {
  uint64_t number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

uint64_t factor_of(char suffix) {
  switch (suffix) {
    case 'k':
    case 'K':
      return uint64_t{1} << 10;
    case 'm':
    case 'M':
      return uint64_t{1} << 20;
    case 'g':
    case 'G':
      return uint64_t{1} << 30;
    default:
      return 1;
  }
}

}  // namespace

pid_t parse_pid(std::string_view option, std::string_view text) {
  const auto number = whole_number(text);
  if (!number || *number == 0 || *number > std::numeric_limits<pid_t>::max())
    usage(fmt::format("--{}: \"{}\" is no pid", option, text), "give the number that ps shows");
  return static_cast<pid_t>(*number);
}

uint64_t parse_inode(std::string_view option, std::string_view text) {
  const auto number = whole_number(text);
  if (!number || *number == 0)
    usage(fmt::format("--{}: \"{}\" is no inode number", option, text), "give the number in socket:[...] of /proc");
  return *number;
}

unsigned parse_streams(std::string_view option, std::string_view text) {
  const auto number = whole_number(text);
  if (!number || *number < 1 || *number > images::kMostStreams)
    usage(fmt::format("--{}: \"{}\" is no number of streams", option, text),
          fmt::format("give a number from 1 to {}", images::kMostStreams));
  return static_cast<unsigned>(*number);
}

uint16_t parse_port(std::string_view option, std::string_view text) {
  const auto number = whole_number(text);
  if (!number || *number > UINT16_MAX)
    usage(fmt::format("--{}: \"{}\" is no port", option, text), "give a number from 0 to 65535");
  return static_cast<uint16_t>(*number);
}

mem::Compression parse_compression(std::string_view option, std::string_view text) {
  if (text == "lz4") return mem::Compression::lz4;
  if (text != "none") usage(fmt::format("--{}: \"{}\" is no compression", option, text), "give none or lz4");
  return mem::Compression::none;
}

int parse_descriptor(std::string_view option, std::string_view text) {
  const auto number = whole_number(text);
  if (!number || *number > std::numeric_limits<int>::max())
    usage(fmt::format("--{}: \"{}\" is no descriptor", option, text), "give the number of an open descriptor");
  return static_cast<int>(*number);
}

std::string parse_resource(std::string_view option, std::string_view text) {
  const auto resource = kinds::canonical_resource(text);
  if (!resource)
    usage(fmt::format("--{}: \"{}\" is no open file that can stay outside", option, text),
          "give file[MOUNT:INODE], tty[RDEV:DEV], pipe[INODE] or socket[INODE], as a refused dump names it; mounts, "
          "devices and namespaces from outside are not built yet");
  return *resource;
}

std::pair<std::string, int> parse_inherited(std::string_view option, std::string_view text) {
  const size_t end = text.find("]:");
  const auto number =
      text.starts_with("fd[") && end != std::string_view::npos ? whole_number(text.substr(3, end - 3)) : std::nullopt;
  if (!number || *number > std::numeric_limits<int>::max() || end + 2 == text.size())
    usage(fmt::format("--{}: \"{}\" is not fd[N]:RESOURCE", option, text), "for example fd[3]:pipe[12345]");
  const int fd = static_cast<int>(*number);
  if (!sys::is_open(fd))
    usage(fmt::format("--{}: descriptor {} is not open", option, fd),
          "open it before: exec 3<>FILE, and then give fd[3]");
  const std::string_view name = text.substr(end + 2);
  if (const auto resource = kinds::canonical_resource(name)) return {*resource, fd};
  return {name.starts_with("/") ? std::string(name) : fmt::format("/{}", name), fd};
}

std::pair<gpu::Uuid, gpu::Uuid> parse_gpu_pair(std::string_view option, std::string_view text) {
  const size_t equals = text.find('=');
  const auto old_uuid = gpu::parse_uuid(text.substr(0, equals));
  const auto new_uuid = equals == std::string_view::npos ? std::nullopt : gpu::parse_uuid(text.substr(equals + 1));
  if (!old_uuid || !new_uuid)
    usage(fmt::format("--{}: \"{}\" is not OLD=NEW, two numbers of GPUs", option, text),
          "mini-criu gpu list prints those of this host");
  return {*old_uuid, *new_uuid};
}

std::chrono::milliseconds parse_seconds(std::string_view option, std::string_view text) {
  constexpr uint64_t kYear = 366 * 24 * 3600;
  const auto number = whole_number(text);
  if (!number || *number > kYear)
    usage(fmt::format("--{}: \"{}\" is no number of seconds", option, text), "give a whole number; 0 means never");
  return std::chrono::seconds(*number);
}

std::chrono::milliseconds parse_duration(std::string_view option, std::string_view text) {
  constexpr std::pair<std::string_view, uint64_t> kUnits[] = {
      {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"", 1000}};  // "ms" before "s"
  constexpr uint64_t kYear = 366ULL * 24 * 3'600'000;
  for (const auto& [unit, factor] : kUnits) {
    if (!text.ends_with(unit)) continue;
    const auto number = whole_number(text.substr(0, text.size() - unit.size()));
    if (!number || *number > kYear / factor) break;
    return std::chrono::milliseconds(*number * factor);
  }
  usage(fmt::format("--{}: \"{}\" is no time", option, text), "give 30s, 10m or 2h, up to a year");
}

unsigned parse_count(std::string_view option, std::string_view text, unsigned most) {
  const auto number = whole_number(text);
  if (!number || *number > most) usage(fmt::format("--{}: \"{}\" is no number from 0 to {}", option, text, most));
  return static_cast<unsigned>(*number);
}

std::vector<int> parse_signals(std::string_view option, std::string_view text) {
  std::vector<int> numbers;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string name(text.substr(at, end - at));
    const auto number = sys::signal_by_name(name);
    if (!number || *number == SIGCHLD)
      usage(fmt::format("--{}: \"{}\" is no signal that can be taken", option, name), "give USR1, or USR1,TERM");
    numbers.push_back(*number);
    at = end + 1;
  }
  return numbers;
}

uint64_t parse_size(std::string_view option, std::string_view text) {
  const uint64_t factor = text.empty() ? 1 : factor_of(text.back());
  const auto number = whole_number(factor == 1 ? text : text.substr(0, text.size() - 1));
  if (!number || *number > std::numeric_limits<uint64_t>::max() / factor)
    usage(fmt::format("--{}: \"{}\" is no size", option, text), "give bytes, or a number with K, M or G behind it");
  return *number * factor;
}

engine::FileValidation parse_validation(std::string_view option, std::string_view text) {
  if (text == "filesize") return engine::FileValidation::filesize;
  if (text == "buildid") return engine::FileValidation::buildid;
  if (text == "none") return engine::FileValidation::none;
  usage(fmt::format("--{}: \"{}\" is unknown", option, text), "give filesize, buildid or none");
}

arch::CpuDemand parse_cpu_demand(std::string_view option, std::string_view text) {
  arch::CpuDemand demand{false, false, false};
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    if (word == "fpu")
      demand.registers = true;
    else if (word == "ins")
      demand.instructions = true;
    else if (word == "cpu" || word == "all" || text == "+")  // "+": no list was given
      demand = {true, true, true};
    else if (word != "none")
      usage(fmt::format("--{}: \"{}\" is unknown", option, word), "give none, fpu, ins, cpu or all");
    at = end + 1;
  }
  return demand;
}

engine::Timers parse_timers(std::string_view option, std::string_view text) {
  if (text == "remaining") return engine::Timers::remaining;
  if (text == "real") return engine::Timers::real;
  usage(fmt::format("--{}: \"{}\" is unknown", option, text), "give remaining or real");
}

tree::CgroupMode parse_cgroup_mode(std::string_view option, std::string_view text) {
  using Mode = tree::CgroupMode;
  constexpr std::pair<std::string_view, Mode> kModes[] = {
      {"+", Mode::soft},      {"soft", Mode::soft}, {"ignore", Mode::ignore}, {"none", Mode::none},
      {"props", Mode::props}, {"full", Mode::full}, {"strict", Mode::strict}};
  for (const auto& [name, mode] : kModes)
    if (text == name) return mode;
  usage(fmt::format("--{}: \"{}\" is unknown", option, text), "give soft, full, strict, props, none or ignore");
}

std::pair<std::string, std::string> parse_cgroup_root(std::string_view option, std::string_view text) {
  const size_t slash = text.find('/');
  const bool has_hierarchy = slash != text.npos && slash > 0;
  if (slash == text.npos || (has_hierarchy && text[slash - 1] != ':') || !bounds::is_kernel_path(text.substr(slash)))
    usage(fmt::format("--{}: \"{}\" is no control group", option, text),
          "give a path, as in /jobs/7 or memory:/jobs/7");
  return {std::string(text.substr(0, has_hierarchy ? slash - 1 : 0)), std::string(text.substr(slash))};
}

log::Level parse_verbosity(const std::vector<std::string>& values) {
  uint64_t level = static_cast<uint64_t>(log::Settings().level);
  for (const std::string& value : values) {
    if (value == "+") {
      level += 1;
    } else if (std::ranges::all_of(value, [](char c) { return c == 'v'; })) {
      level += value.size() + 1;  // the first v is the option itself
    } else if (const auto number = whole_number(value)) {
      level = *number;
    } else {
      usage(fmt::format("--verbosity: \"{}\" is no level", value), "give 0 to 4");
    }
    level = std::min<uint64_t>(level, static_cast<uint64_t>(log::Level::debug));
  }
  return static_cast<log::Level>(level);
}

}  // namespace mcr::cli
