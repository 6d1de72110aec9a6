#include "core/procfs/numa_policy.h"

#include <algorithm>
#include <charconv>
#include <string>

namespace mcr::procfs {
namespace {

constexpr std::pair<std::string_view, uint32_t> kModes[] = {
    {"default", 0}, {"prefer (many)", 5},      {"prefer", 1}, {"bind", 2}, {"interleave", 3},
    {"local", 4},   {"weighted interleave", 6}};
constexpr std::pair<std::string_view, uint32_t> kFlags[] = {
    {"static", 1u << 15}, {"relative", 1u << 14}, {"balancing", 1u << 13}};
constexpr unsigned kMostNodes = 1024;

// Takes `word` off the front.
bool take(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

std::optional<unsigned> take_number(std::string_view& text) {
  unsigned value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end.ec != std::errc() || value >= kMostNodes) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end.ptr - text.data()));
  return value;
}

// "0-1,4"
bool take_nodes(std::string_view text, std::vector<uint64_t>& nodes) {
  for (;;) {
    const auto first = take_number(text);
    const auto last = first && take(text, "-") ? take_number(text) : first;
    if (!first || !last || *last < *first) return false;
    for (unsigned node = *first; node <= *last; ++node) {
      nodes.resize(std::max<size_t>(nodes.size(), node / 64 + 1));
      nodes[node / 64] |= uint64_t{1} << node % 64;
    }
    if (text.empty()) return true;
    if (!take(text, ",")) return false;
  }
}

bool take_flag(std::string_view& text, uint32_t& mode) {
  for (const auto& [name, flag] : kFlags)
    if (take(text, name)) return mode |= flag, true;
  return false;
}

}  // namespace

std::optional<NumaPolicy> parse_numa_policy(std::string_view line) {
  const size_t blank = line.find(' ');
  if (blank == line.npos) return std::nullopt;
  std::string_view text = line.substr(blank + 1);
  for (const auto& [name, mode] : kModes) {
    if (!take(text, name)) continue;
    NumaPolicy policy{mode, {}};
    text = text.substr(0, text.find_first_of(" \n"));
    if (take(text, "="))
      while (take_flag(text, policy.mode)) take(text, "|");
    if (text.empty()) return policy;
    if (!take(text, ":") || !take_nodes(text, policy.nodes)) return std::nullopt;
    return policy;
  }
  return std::nullopt;
}

}  // namespace mcr::procfs
