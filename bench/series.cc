#include "bench/series.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>

namespace bench {
namespace {

bool g_failed = false;

double smallest(const std::vector<double>& v) {
  return *std::min_element(v.begin(), v.end());
}
double largest(const std::vector<double>& v) {
  return *std::max_element(v.begin(), v.end());
}

}  // namespace

bool anything_failed() {
  return g_failed;
}

// All of a case at once, when its first benchmark is run. A round may fail because something else on the machine took
// the pid that was to be restored: once more then, twice in a row is an error. Three and more engines take turns in
// both directions, so that none always follows the same other one.
void Series::measure() {
  measured_ = true;
  for (int round = warm_up_ ? -1 : 0; round < rounds_; ++round) {
    for (const Engine& engine : engines_) {
      Samples samples;
      try {
        samples = round_(engine);
      } catch (const Failure& first) {
        fprintf(stderr, "%s with %s, once more after: %s\n", name_.c_str(), engine.name().c_str(), first.what());
        samples = round_(engine);
      }
      if (round < 0) continue;
      for (auto& [operation, sample] : samples) samples_[operation + "/" + engine.name()].push_back(std::move(sample));
    }
    if (engines_.size() > 2) std::reverse(engines_.begin(), engines_.end());
  }
}

void Series::register_all(int rounds, bool warm_up) {
  rounds_ = rounds;
  warm_up_ = warm_up;
  for (const std::string& operation : operations_)
    for (const Engine& engine : engines_) {
      const std::string key = operation + "/" + engine.name();
      auto body = [this, key, next = size_t{0}](benchmark::State& state) mutable {
        try {
          if (!measured_) measure();
        } catch (const std::exception& e) {
          failure_ = e.what();
        }
        if (!failure_.empty() || samples_[key].empty()) {
          g_failed = true;
          state.SkipWithError(failure_.empty() ? "nothing was measured" : failure_.c_str());
          return;
        }
        const Sample& sample = samples_[key][next++ % samples_[key].size()];
        for (auto _ : state) state.SetIterationTime(sample.milliseconds / 1000);
        for (const auto& [phase, ms] : sample.phases) state.counters[phase + "_ms"] = ms;
      };
      auto* registered = benchmark::RegisterBenchmark((name_ + "/" + key).c_str(), body);
      registered->UseManualTime()->Iterations(1)->Repetitions(rounds)->Unit(benchmark::kMillisecond);
      if (rounds > 1) registered->ReportAggregatesOnly(false)->DisplayAggregatesOnly(true);
      registered->ComputeStatistics("min", smallest)->ComputeStatistics("max", largest);
    }
}

}  // namespace bench
