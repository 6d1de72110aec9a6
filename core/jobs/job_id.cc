#include "core/jobs/job_id.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

namespace mcr::jobs {
namespace {

constexpr size_t kLongest = 64;

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_interpreter(const std::string& name) {
  constexpr std::string_view kKnown[] = {"python", "perl", "ruby", "bash", "sh", "dash", "node", "Rscript", "julia"};
  return std::ranges::any_of(kKnown, [&](std::string_view known) {
    // "python3.11" is one, "shuffle" is none
    return name.starts_with(known) && name.find_first_not_of("0123456789.", known.size()) == std::string::npos;
  });
}

// The script rather than what interprets it.
std::string telling_word(const std::vector<std::string>& command) {
  if (command.empty()) return {};
  const std::string program = std::filesystem::path(command.front()).filename();
  if (!is_interpreter(program)) return program;
  for (size_t i = 1; i < command.size() && command[i] != "-c" && command[i] != "-m"; ++i)
    if (!command[i].starts_with('-')) return std::filesystem::path(command[i]).stem();
  return program;
}

}  // namespace

bool is_job_id(std::string_view text) {
  return !text.empty() && text.size() <= kLongest && is_plain(text.front()) &&
         std::ranges::all_of(text, [](char c) { return is_plain(c) || c == '.' || c == '_' || c == '-'; });
}

std::string propose_id(const std::vector<std::string>& command, const std::set<std::string>& taken) {
  std::string name;
  for (const char c : telling_word(command))
    if (is_plain(c) || (!name.empty() && (c == '.' || c == '_' || c == '-'))) name += c;
  name.resize(std::min<size_t>(name.size(), kLongest / 2));
  if (name.empty()) name = "job";
  for (unsigned number = 1;; ++number)
    if (std::string id = fmt::format("{}-{}", name, number); !taken.contains(id)) return id;
}

}  // namespace mcr::jobs
