#include "core/base/obstacles.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <span>

#include "core/base/log.h"

namespace mcr {

Obstacles::Obstacles(Wanted wanted) : wanted_(wanted), outside_(Step::trail().size()) {}

// What the host or the limits of time bring about is no property of the program.
void Obstacles::note(const Error& error) {
  if (error.fault() != Fault::refused && error.fault() != Fault::system) throw;
  const auto steps = std::span(error.trail()).subspan(std::min(outside_, error.trail().size()));
  Obstacle obstacle{
      {fmt::format("{}", fmt::join(steps, " > ")), error.reason(), error.remedy()}, pid_, fd_, error.fault()};
  if (obstacle.problem.object.empty()) obstacle.problem.object = "the tree";
  found_.push_back(std::move(obstacle));
}

void Obstacles::warn(std::string_view module, std::string text) {
  if (!wants_all()) return log::warning(module, "{}", text);
  if (std::ranges::find(warnings_, text) == warnings_.end()) warnings_.push_back(std::move(text));
}

void Obstacles::forget_since(size_t count) {
  found_.resize(std::min(count, found_.size()));
}

void Obstacles::forget() {
  found_.clear(), warnings_.clear();
}

void Obstacles::throw_if_any() const {
  if (found_.empty()) return;
  std::vector<Problem> problems;
  for (const Obstacle& obstacle : found_) problems.push_back(obstacle.problem);
  throw ProblemList(Fault::refused, "it cannot be dumped:", std::move(problems));
}

}  // namespace mcr
