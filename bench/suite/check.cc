#include "bench/suite/check.h"

#include <fmt/format.h>

namespace bench {
namespace {

using nlohmann::json;

constexpr double allowed = 1.15;

const json* find(const json& list, const char* key, const json& value) {
  for (const json& one : list)
    if (one.value(key, json()) == value) return &one;
  return nullptr;
}

void compare_result(const std::string& name, const json& now, const json& before, Verdict& verdict) {
  const std::string engine = before["engine"];
  if (now["status"] == "failed" || now["status"] == "wrong") {
    verdict.worse.push_back(fmt::format("{} with {}: fails now: {}", name, engine, now.value("reason", "")));
    return;
  }
  for (const auto& [figure, ratio] : before["ratio"].items()) {
    if (!now.contains("ratio") || !now["ratio"].contains(figure)) {
      verdict.skipped.push_back(fmt::format("{} {} with {}", name, figure, engine));
      continue;
    }
    ++verdict.compared;
    const double then = ratio, is = now["ratio"][figure];
    if (is > then * allowed)
      verdict.worse.push_back(fmt::format("{} {} with {}: {:.3f} of CRIU's, {:.3f} in the baseline ({:+.0f} %)", name,
                                          figure, engine, is, then, (is / then - 1) * 100));
  }
}

}  // namespace

Verdict compare_with_baseline(const json& now, const json& baseline) {
  Verdict verdict;
  for (const json& before : baseline["cases"]) {
    const std::string name = before["name"];
    const json* one = find(now["cases"], "name", before["name"]);
    for (const json& result : before["results"]) {
      const std::string engine = result["engine"];
      if (!engine.starts_with("mini-criu") || !result.contains("ratio") || result["ratio"].empty()) continue;
      const json* same = one != nullptr ? find((*one)["results"], "engine", result["engine"]) : nullptr;
      if (same == nullptr)
        verdict.skipped.push_back(name + " with " + engine);
      else
        compare_result(name, *same, result, verdict);
    }
  }
  return verdict;
}

}  // namespace bench
