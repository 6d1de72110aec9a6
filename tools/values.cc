#include "tools/values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include "core/base/bounds.h"
#include "core/kinds/external.h"
#include "core/sys/file.h"
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

std::chrono::milliseconds parse_seconds(std::string_view option, std::string_view text) {
  constexpr uint64_t kYear = 366 * 24 * 3600;
  const auto number = whole_number(text);
  if (!number || *number > kYear)
    usage(fmt::format("--{}: \"{}\" is no number of seconds", option, text), "give a whole number; 0 means never");
  return std::chrono::seconds(*number);
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
