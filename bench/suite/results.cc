#include "bench/suite/results.h"

#include <cstdio>
#include <fstream>

namespace bench {
namespace {

using nlohmann::json;

std::vector<double> values_of(const std::vector<Sample>& samples, const std::string& figure) {
  std::vector<double> values;
  for (const Sample& sample : samples)
    if (const auto found = sample.find(figure); found != sample.end()) values.push_back(found->second);
  return values;
}

json summary_of(const std::vector<Sample>& samples) {
  json summary = json::object();
  std::map<std::string, int> figures;
  for (const Sample& sample : samples)
    for (const auto& [figure, value] : sample) ++figures[figure];
  for (const auto& [figure, count] : figures) {
    const Summary s = summarize(values_of(samples, figure));
    summary[figure] = {{"median", s.median}, {"low", s.low},   {"high", s.high},
                       {"least", s.least},   {"most", s.most}, {"count", s.count}};
  }
  return summary;
}

// Median by median, of the figures that both have.
json ratios(const json& summary, const json& criu) {
  json all = json::object();
  for (const std::string& figure : compared_figures()) {
    if (!summary.contains(figure) || !criu.contains(figure)) continue;
    const double base = criu[figure]["median"];
    if (base > 0) all[figure] = summary[figure]["median"].get<double>() / base;
  }
  return all;
}

json result_to_json(const Result& result) {
  json one = {{"engine", result.engine}};
  one["status"] = !result.reason.empty() ? (result.wrong ? "wrong" : result.failed ? "failed" : "missing") : "ok";
  if (!result.reason.empty()) one["reason"] = result.reason;
  if (result.retries > 0) one["retries"] = result.retries;
  one["samples"] = json::array();
  for (const Sample& sample : result.samples) one["samples"].push_back(sample);
  // An engine that fails has no figures: those of its good rounds would hide it.
  one["summary"] = result.reason.empty() ? summary_of(result.samples) : json::object();
  return one;
}

json case_to_json(const CaseResults& one) {
  json object = {{"name", one.what.name}, {"family", one.what.family}, {"mode", name_of(one.what.mode)}};
  if (one.what.size > 0) object["size"] = one.what.size, object["unit"] = one.what.unit;
  object["results"] = json::array();
  json criu = json::object();
  for (const Result& result : one.results) {
    object["results"].push_back(result_to_json(result));
    if (result.engine == "criu") criu = object["results"].back()["summary"];
  }
  for (json& result : object["results"])
    if (result["engine"] != "criu") result["ratio"] = ratios(result["summary"], criu);
  return object;
}

// One exponent for each family, engine and figure that has three sizes.
json growth(const json& cases) {
  std::map<std::tuple<std::string, std::string, std::string>, std::vector<std::pair<double, double>>> points;
  for (const json& one : cases) {
    if (!one.contains("size")) continue;
    for (const json& result : one["results"])
      for (const std::string& figure : compared_figures())
        if (result["summary"].contains(figure))
          points[{one["family"], result["engine"], figure}].emplace_back(one["size"].get<double>(),
                                                                         result["summary"][figure]["median"]);
  }
  json all = json::array();
  for (const auto& [key, series] : points)
    if (const auto exponent = fitted_exponent(series))
      all.push_back({{"family", std::get<0>(key)},
                     {"engine", std::get<1>(key)},
                     {"figure", std::get<2>(key)},
                     {"exponent", *exponent}});
  return all;
}

}  // namespace

const char* name_of(Mode mode) {
  switch (mode) {
    case Mode::stop:
      return "stop";
    case Mode::snapshot:
      return "snapshot";
    case Mode::work:
      break;
  }
  return "work";
}

const std::vector<std::string>& compared_figures() {
  static const std::vector<std::string> figures = {"dump_ms",        "pause_ms",    "restore_ms",
                                                   "answer_ms",      "image_bytes", "dump_cpu_ms",
                                                   "restore_cpu_ms", "peak_bytes",  "work_ms"};
  return figures;
}

json to_json(const Results& results) {
  json all = {{"format", 1}, {"suite", results.suite}, {"machine", results.machine}, {"engines", results.engines}};
  all["limits"] = json::array();
  for (const Limit& limit : results.limits)
    all["limits"].push_back({{"mib", limit.mib}, {"samples", limit.samples}, {"summary", summary_of(limit.samples)}});
  all["cases"] = json::array();
  for (const CaseResults& one : results.cases) all["cases"].push_back(case_to_json(one));
  all["growth"] = growth(all["cases"]);
  return all;
}

json load_json(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Failure("cannot read " + path);
  json results = json::parse(file, nullptr, false);
  if (!results.is_object() || results.value("format", 0) != 1)
    throw Failure(path + " holds no results of bench/compare");
  return results;
}

void save_json(const json& results, const std::string& path) {
  std::ofstream file(path);
  file << results.dump(1, ' ', false, json::error_handler_t::replace) << "\n";
  file.close();
  if (!file) throw Failure("cannot write " + path);
}

}  // namespace bench
