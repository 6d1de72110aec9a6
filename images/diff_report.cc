#include <fmt/format.h>

#include "images/diff.h"
#include "images/json_value.h"

namespace mcr::images {
namespace {

Json json_of(const Difference& difference) {
  JsonObject object;
  JsonList trail;
  for (const std::string& step : difference.trail) trail.add(json_of_text(step));
  object.add("trail", trail.value());
  object.add("field", json_of_text(difference.field));
  object.add("before", json_of_text(difference.before));
  object.add("after", json_of_text(difference.after));
  object.add("expected", json_of_flag(!difference.reason.empty()));
  if (!difference.reason.empty()) object.add("reason", json_of_text(difference.reason));
  return object.value();
}

}  // namespace

std::string Difference::line() const {
  std::string text = fmt::format("{}", fmt::join(trail, " > "));
  text += (text.empty() ? "" : " > ") + field;
  if (!before.empty() || !after.empty()) text += fmt::format(": {} -> {}", before, after);
  return text;
}

std::string diff_text(const std::vector<Difference>& differences, bool expected) {
  std::string text;
  for (const Difference& difference : differences) {
    if (difference.reason.empty())
      text += difference.line() + "\n";
    else if (expected)
      text += fmt::format("(expected) {} ({})\n", difference.line(), difference.reason);
  }
  return text;
}

std::string diff_json(const std::vector<Difference>& differences) {
  JsonObject object;
  JsonList all;
  size_t counting = 0;
  for (const Difference& difference : differences) {
    if (difference.reason.empty()) ++counting;
    all.add(json_of(difference));
  }
  object.add("ok", json_of_flag(true));
  object.add("command", json_of_text("diff"));
  object.add("same", json_of_flag(counting == 0));
  object.add("count", json_of_number(static_cast<double>(counting)));
  object.add("differences", all.value());
  return json_text(object.value());
}

}  // namespace mcr::images
