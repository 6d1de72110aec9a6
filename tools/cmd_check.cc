#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "core/sys/features.h"
#include "core/sys/file.h"
#include "tools/commands.h"
#include "tools/json_object.h"

namespace mcr::cli {
namespace {

using sys::Feature;

// Terminal colours, only where somebody sees them (https://no-color.org).
struct Colours {
  std::string_view good, bad, weak, plain;
};

Colours colours() {
  const char* unwanted = std::getenv("NO_COLOR");
  if (!sys::is_terminal(1) || (unwanted && *unwanted)) return {};
  return {"\033[32m", "\033[31m", "\033[33m", "\033[0m"};
}

std::string feature_lines(const Feature& feature, size_t width, const Colours& colours) {
  const std::string name = fmt::format("{:<{}}", feature.name, width);
  if (feature.available) {
    const std::string detail = feature.detail.empty() ? "" : fmt::format(" ({})", feature.detail);
    return fmt::format("{}  {}yes{}{}\n", name, colours.good, colours.plain, detail);
  }
  const std::string_view colour = feature.required ? colours.bad : colours.weak;
  std::string text = fmt::format("{}  {}no{}: {}\n", name, colour, colours.plain, feature.why);
  const std::string indent(width + 2, ' ');
  if (!feature.needed_for.empty()) text += fmt::format("{}needed for: {}\n", indent, feature.needed_for);
  if (!feature.since.empty()) text += fmt::format("{}since: {}\n", indent, feature.since);
  if (!feature.remedy.empty()) text += fmt::format("{}remedy: {}\n", indent, feature.remedy);
  return text;
}

std::string features_text(const std::vector<Feature>& features) {
  size_t width = 0;
  for (const Feature& feature : features) width = std::max(width, feature.name.size());
  std::string text;
  for (const Feature& feature : features) text += feature_lines(feature, width, colours());
  return text;
}

std::string features_json(const std::vector<Feature>& features, bool ok) {
  JsonObject object;
  put_flag(object, "ok", ok);
  put(object, "command", "check");
  JsonList& list = put_list(object, "features");
  for (const Feature& feature : features) {
    JsonObject& entry = *list.add_values()->mutable_struct_value();
    put(entry, "name", feature.name);
    put_flag(entry, "available", feature.available);
    put_flag(entry, "required", feature.required);
    put(entry, "why", feature.why);
    put(entry, "detail", feature.detail);
    put(entry, "since", feature.since);
    put(entry, "needed_for", feature.needed_for);
    put(entry, "remedy", feature.remedy);
  }
  return json_text(object) + "\n";
}

std::vector<Feature> probed(const std::vector<std::string>& names) {
  if (names.empty()) return sys::probe_features();
  const auto known = sys::feature_names();
  std::vector<Feature> features;
  for (const std::string& name : names) {
    if (std::ranges::find(known, name) == known.end())
      usage(fmt::format("--feature: \"{}\" is unknown", name), "mini-criu check --feature list prints the names");
    features.push_back(sys::probe_feature(name));
  }
  return features;
}

}  // namespace

int run_check(const CommandLine& line) {
  if (!line.operands.empty() || line.settings.typed("tree"))
    usage("checking one process beforehand is not built yet", "run mini-criu check alone, or try the dump");
  if (line.settings.typed("images-dir"))
    usage("checking an image against this host is not built yet", "mini-criu verify reads an image; restore compares");
  const std::vector<std::string> names = line.settings.values("feature");
  if (names == std::vector<std::string>{"list"}) {
    for (std::string_view name : sys::feature_names()) print(fmt::format("{}\n", name));
    return 0;
  }
  const std::vector<Feature> features = probed(names);
  const bool ok =
      names.empty() ? sys::can_dump_and_restore(features) : std::ranges::all_of(features, &Feature::available);
  if (line.settings.flag("json")) {
    print(features_json(features, ok));
    return ok ? 0 : 1;
  }
  print(features_text(features));
  if (names.empty()) print(ok ? "Looks good.\n" : "Dump and restore cannot work here.\n");
  return ok ? 0 : 1;
}

}  // namespace mcr::cli
