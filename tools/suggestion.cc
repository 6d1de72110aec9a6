#include "tools/suggestion.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "tools/option_table.h"

namespace mcr::cli {
namespace {

// Levenshtein's distance, one row at a time.
size_t edits_between(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::string nearest(std::string_view typed, const std::vector<std::string>& candidates) {
  const std::string* best = nullptr;
  size_t best_edits = typed.size() / 3 + 2;  // as many as this are no slip any more
  for (const std::string& candidate : candidates) {
    // getopt would take an unfinished word, so it is the likeliest slip of all.
    const bool unfinished = typed.size() >= 3 && candidate.starts_with(typed);
    const size_t edits = unfinished ? 0 : edits_between(typed, candidate);
    if (edits >= best_edits) continue;
    best = &candidate;
    best_edits = edits;
  }
  return best ? *best : std::string();
}

std::string option_hint(std::string_view typed) {
  std::vector<std::string> names;
  for (const Option& option : options()) {
    names.push_back(fmt::format("--{}", option.typed_name()));
    if (option.takes == Takes::nothing) names.push_back(fmt::format("--no-{}", option.typed_name()));
  }
  const std::string guess = typed.starts_with("--") ? nearest(typed.substr(0, typed.find('=')), names) : std::string();
  if (guess.empty()) return "mini-criu --help lists all options";
  return fmt::format("did you mean {}? (mini-criu --help lists all options)", guess);
}

std::string command_hint(std::string_view typed) {
  std::vector<std::string> names;
  for (const Command& command : commands()) names.emplace_back(command.name);
  const std::string guess = nearest(typed, names);
  if (guess.empty()) return "mini-criu --help lists all commands";
  return fmt::format("did you mean {}?", guess);
}

}  // namespace mcr::cli
