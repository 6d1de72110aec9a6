#include <fmt/format.h>

#include <algorithm>

#include "core/sys/features.h"
#include "tools/check_report.h"
#include "tools/colours.h"
#include "tools/commands.h"
#include "tools/json_object.h"
#include "tools/standard_streams.h"

namespace mcr::cli {
namespace {

using sys::Feature;

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

namespace {

int check_tree(const CommandLine& line) {
  const DumpRequest request = dump_request(line);
  const engine::TreeReport report = engine::examine_tree(request.options);
  print(request.around.json ? tree_json(report) : tree_text(report, colours()));
  return report.obstacles.empty() ? 0 : 1;
}

int check_image(const CommandLine& line) {
  RestoreRequest request = restore_request(line);
  const std::string& folder = request.around.images_dir;
  if (is_stream(request.around)) request.options.received = receive_image(nullptr);
  const engine::ImageReport report = engine::examine_image(request.options);
  print(request.around.json ? image_json(report, folder) : image_text(report, folder, colours()));
  return report.problems.empty() ? 0 : 1;
}

}  // namespace

int run_check(const CommandLine& line) {
  const bool of_tree = line.settings.value("tree").has_value(), of_image = line.settings.typed("images-dir");
  if (of_tree && of_image) usage("check looks at a program (-t) or at an image (-D), not at both", "give one of them");
  if ((of_tree || of_image) && !line.settings.values("feature").empty())
    usage("--feature is about this host alone", "leave out -t and -D");
  if (of_tree) return check_tree(line);
  if (of_image) return check_image(line);
  if (!line.operands.empty())
    usage(fmt::format("check takes no operand, but was given \"{}\"", line.operands.front()),
          "a program is given with -t PID, an image with -D DIR");
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
