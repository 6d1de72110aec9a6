// Everything that was measured, and its form in JSON: docs/benchmarks.json.
#pragma once

#include <nlohmann/json.hpp>

#include "bench/suite/case.h"
#include "bench/suite/round.h"
#include "bench/suite/statistics.h"

namespace bench {

// A case with an engine. Without samples, `reason` says why: the engine is missing, fails, or does harm.
struct Result {
  std::string engine;
  std::string reason;
  bool failed = false;  // it was tried; otherwise it is missing
  bool wrong = false;   // the program was harmed
  int retries = 0;      // rounds that were made twice as the first time failed without harm
  std::vector<Sample> samples;
};

struct CaseResults {
  Case what;
  std::vector<Result> results;
};

struct Limit {
  long mib = 0;
  std::vector<Sample> samples;
};

struct Results {
  nlohmann::json suite, machine, engines;
  std::vector<Limit> limits;
  std::vector<CaseResults> cases;
};

// With medians, quartiles, ratios to CRIU and exponents, so that whoever reads it computes nothing.
nlohmann::json to_json(const Results& results);

nlohmann::json load_json(const std::string& path);  // throws Failure
void save_json(const nlohmann::json& results, const std::string& path);

const char* name_of(Mode mode);
// The figures by which engines are compared, in the order of tables; of all less is better.
const std::vector<std::string>& compared_figures();

}  // namespace bench
