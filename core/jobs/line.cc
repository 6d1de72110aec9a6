#include "core/jobs/line.h"

#include <algorithm>

namespace mcr::jobs {
namespace {

constexpr int kLongest = 64;

}  // namespace

bool has(const job::Line& line, uint32_t number) {
  return std::ranges::find(line.numbers(), number) != line.numbers().end();
}

void append(job::Line& line, uint32_t number) {
  line.add_numbers(number);
  auto& all = *line.mutable_numbers();
  if (all.size() > kLongest) all.erase(all.begin(), all.end() - kLongest);
}

std::optional<uint32_t> last_of_line(const job::State& state, const std::vector<StoredCheckpoint>& stored,
                                     uint32_t before) {
  std::optional<uint32_t> last;
  for (const StoredCheckpoint& one : stored)
    if (one.number < before && (!state.has_line() || has(state.line(), one.number)))
      last = std::max(last.value_or(0), one.number);
  return last;
}

std::optional<uint32_t> default_checkpoint(const job::State& state, const std::vector<StoredCheckpoint>& stored) {
  if (const auto last = last_of_line(state, stored)) return last;
  return stored.empty() ? std::nullopt : std::optional(stored.back().number);
}

void take_up_unheard(job::State& state, const std::vector<StoredCheckpoint>& stored) {
  const uint32_t number = state.under_way();
  state.clear_under_way();
  if (number != 0 && !stored.empty() && stored.back().number == number && !has(state.line(), number))
    append(*state.mutable_line(), number);
}

bool was_stopped_by_checkpoint(const job::State& state, const std::vector<StoredCheckpoint>& stored) {
  return state.stopping() != 0 && !stored.empty() && stored.back().number == state.stopping();
}

job::Line line_from(const job::State& state, const std::optional<job::Checkpoint>& details, uint32_t number) {
  job::Line line;
  const job::Line& past = has(state.line(), number) || !details ? state.line() : details->line();
  for (const uint32_t one : past.numbers())
    if (one < number) append(line, one);
  append(line, number);
  return line;
}

}  // namespace mcr::jobs
