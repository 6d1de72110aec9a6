#include "tools/settings.h"

#include <fmt/ranges.h>

#include <utility>

namespace mcr::cli {

void usage(std::string reason, std::string remedy, std::source_location where) {
  throw Error(Fault::usage, std::move(reason), std::move(remedy), 0, where);
}

void Settings::add(const Option& option, std::string value, const std::string& origin) {
  Given& given = given_[&option];
  given.values.push_back(std::move(value));
  given.origin = origin;
}

void Settings::merge(const Settings& later) {
  for (const auto& [option, given] : later.given_)
    for (const std::string& value : given.values) add(*option, value, given.origin);
}

bool Settings::flag(std::string_view name) const {
  const Option& known = option(name);
  const auto found = given_.find(&known);
  return found == given_.end() ? known.starts_on : found->second.values.back() == "true";
}

std::optional<std::string> Settings::value(std::string_view name) const {
  const auto found = given_.find(&option(name));
  if (found == given_.end()) return std::nullopt;
  return found->second.values.back();
}

std::vector<std::string> Settings::values(std::string_view name) const {
  const auto found = given_.find(&option(name));
  return found == given_.end() ? std::vector<std::string>() : found->second.values;
}

bool Settings::typed(std::string_view name) const {
  const auto found = given_.find(&option(name));
  return found != given_.end() && found->second.origin.empty();
}

void Settings::refuse_unbuilt() const {
  std::vector<std::string> refusals;
  // In the table's order, so that the same command line always gives the same sentence.
  for (const Option& option : options()) {
    const auto found = given_.find(&option);
    if (found == given_.end() || option.state != State::refused) continue;
    const std::string& value = found->second.values.back();
    if (option.takes == Takes::nothing && value == "false") continue;
    if (!option.harmless_value.empty() && value == option.harmless_value) continue;
    const std::string origin = found->second.origin.empty() ? "" : fmt::format(" ({})", found->second.origin);
    refusals.push_back(fmt::format("{} is not built yet{}: {}", shown_name(option), origin, option.help));
  }
  if (!refusals.empty()) usage(fmt::format("{}", fmt::join(refusals, "; ")), "leave it out");
}

}  // namespace mcr::cli
