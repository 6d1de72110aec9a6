#include "tools/config_file.h"

#include <fmt/format.h>

#include <cstdlib>

#include "core/sys/file.h"
#include "tools/settings.h"

namespace mcr::cli {
namespace {

constexpr std::string_view kBlank = " \t\r";

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

// A "#" begins a comment at the start of a word only: it may well stand inside a file's name.
std::string_view without_comment(std::string_view line) {
  bool quoted = false;
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"') quoted = !quoted;
    if (line[i] == '#' && !quoted && (i == 0 || kBlank.find(line[i - 1]) != std::string_view::npos))
      return line.substr(0, i);
  }
  return line;
}

std::string_view unquoted(std::string_view value) {
  if (value.size() < 2 || value.front() != '"' || value.back() != '"') return value;
  return value.substr(1, value.size() - 2);
}

std::string as_argument(std::string_view line, const std::string& origin) {
  if (line.front() == '-') usage(fmt::format("{}: options stand here without dashes", origin), "take the dashes away");
  const size_t end = line.find_first_of(" \t=");
  const std::string_view name = line.substr(0, end);
  if (name == "config" || name == "default-config" || name == "no-default-config")
    usage(fmt::format("{}: {} belongs on the command line", origin, name), "take the line away");
  if (end == std::string_view::npos) return fmt::format("--{}", name);
  std::string_view value = trimmed(line.substr(end));
  if (value.starts_with('=')) value = trimmed(value.substr(1));
  return fmt::format("--{}={}", name, unquoted(value));
}

}  // namespace

std::vector<ConfigLine> parse_config(std::string_view text, const std::string& path) {
  std::vector<ConfigLine> lines;
  for (size_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(without_comment(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty()) continue;
    const std::string origin = fmt::format("{}:{}", path, number);
    lines.push_back({as_argument(line, origin), origin});
  }
  return lines;
}

std::vector<ConfigLine> read_config(const std::string& path) {
  const auto text = sys::try_read_text(path);
  if (!text) usage(fmt::format("the configuration file {} cannot be read", path), "check its name and its permissions");
  return parse_config(*text, path);
}

std::vector<ConfigLine> read_config_if_any(const std::string& path) {
  if (!sys::try_stat(path)) return {};
  return read_config(path);
}

std::vector<std::string> default_config_files() {
  std::vector<std::string> files = {"/etc/mini-criu/default.conf"};
  const char* config_home = std::getenv("XDG_CONFIG_HOME");
  const char* home = std::getenv("HOME");
  if (config_home && *config_home)
    files.push_back(fmt::format("{}/mini-criu/default.conf", config_home));
  else if (home && *home)
    files.push_back(fmt::format("{}/.config/mini-criu/default.conf", home));
  return files;
}

}  // namespace mcr::cli
