#include "bench/suite/schedule.h"

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "bench/suite/limits.h"

namespace bench {
namespace {

// The variants are measured where they differ from what they vary.
bool belongs(const std::string& engine, const Case& one) {
  if (engine == "mini-criu --live") return one.mode == Mode::snapshot && !one.incremental;
  if (engine == "mini-criu --compress=lz4") return one.family.starts_with("memory/");
  if (engine == "mini-criu --no-sync") return one.on_disk;
  return true;
}

long available_mib() {
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  for (long kib = 0; file >> name >> kib; std::getline(file, unit))
    if (name == "MemAvailable:") return kib / 1024;
  return 0;
}

// The program, its image in memory, and what was restored while both are there; and what an engine adds.
std::string lack_of_memory(const Case& one, const Engine* engine) {
  long needed = one.unit == "MiB" ? one.size * 9 / 4 : 0;
  if (one.unit == "processes" && engine != nullptr) needed = one.size * engine->image_mib_per_process() * 2;
  const long free = available_mib();
  if (needed <= free) return "";
  return "takes " + std::to_string(needed) + " MiB of memory, " + std::to_string(free) + " are free";
}

class CaseRun {
 public:
  CaseRun(CaseResults& results, const std::vector<Found>& engines, const Plan& plan, const Progress& progress)
      : results_(results), plan_(plan), progress_(progress) {
    for (const Found& found : engines) {
      if (!belongs(found.name, results.what)) continue;
      Result result;
      result.engine = found.name;
      result.reason = found.engine ? results.what.missing : found.reason;
      if (result.reason.empty()) result.reason = lack_of_memory(results.what, found.engine.get());
      results.results.push_back(result);
      engines_.push_back(found.engine.get());
    }
  }

  int rounds() const { return rounds_; }
  double cost() const { return cost_; }
  bool goes_on() const {
    return rounds_ < plan_.rounds && std::any_of(results_.results.begin(), results_.results.end(),
                                                 [](const Result& r) { return r.reason.empty(); });
  }

  // Every engine once; another one begins each time.
  void run(bool counted) {
    const auto began = Clock::now();
    const size_t count = engines_.size();
    for (size_t i = 0; i < count; ++i) {
      const size_t turn = (i + static_cast<size_t>(rounds_)) % count;
      Result& result = results_.results[turn];
      if (!result.reason.empty()) continue;
      progress_(results_.what.name, result.engine, counted ? rounds_ + 1 : 0);
      run_one(*engines_[turn], result, counted);
    }
    cost_ = milliseconds_since(began) / 1000;
    if (counted) ++rounds_;
  }

  void give_up(const std::string& reason) {
    for (Result& result : results_.results)
      if (result.reason.empty() && result.samples.empty()) result.reason = reason;
  }

 private:
  // Once more after a failure that has harmed nobody: somebody else may have taken the pid that was to be restored. Not
  // after one that took long.
  void run_one(Engine& engine, Result& result, bool counted) {
    const auto began = Clock::now();
    try {
      try {
        keep(result, measure(results_.what, engine, plan_.how), counted);
      } catch (const Failure& first) {
        if (first.wrong_result || milliseconds_since(began) > 15'000) throw;
        ++result.retries;
        keep(result, measure(results_.what, engine, plan_.how), counted);
      }
    } catch (const Failure& failure) {
      result.failed = true;
      result.wrong = failure.wrong_result;
      result.reason = failure.what();
      if (!result.samples.empty())
        result.reason += " (after " + std::to_string(result.samples.size()) + " good rounds)";
    } catch (const std::exception& e) {
      result.failed = true;
      result.reason = e.what();
    }
  }

  static void keep(Result& result, Sample sample, bool counted) {
    if (counted) result.samples.push_back(std::move(sample));
  }

  CaseResults& results_;
  const Plan& plan_;
  const Progress& progress_;
  std::vector<Engine*> engines_;
  int rounds_ = 0;
  double cost_ = 0;
};

// Of the cases with the fewest rounds the first whose next round still fits; nullptr: none.
CaseRun* next_of(std::vector<CaseRun>& runs, double left) {
  CaseRun* best = nullptr;
  for (CaseRun& run : runs)
    if (run.goes_on() && run.cost() <= left && (best == nullptr || run.rounds() < best->rounds())) best = &run;
  return best;
}

void measure_all_limits(const Plan& plan, const Progress& progress, Results& results) {
  std::vector<long> sizes;
  for (const CaseResults& one : results.cases)
    if (one.what.unit == "MiB" && lack_of_memory(one.what, nullptr).empty()) sizes.push_back(one.what.size);
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  for (const long mib : sizes) results.limits.push_back({mib, {}});
  for (int round = plan.warm_up ? 0 : 1; round <= std::min(plan.rounds, 5); ++round)
    for (Limit& limit : results.limits) {
      progress("limits/" + std::to_string(limit.mib) + "MiB", "none", round);
      const Sample sample = measure_limits(limit.mib, plan.how.memory);
      if (round > 0) limit.samples.push_back(sample);
    }
}

}  // namespace

void measure_all(const std::vector<Case>& cases, const std::vector<Found>& engines, const Plan& plan,
                 const Progress& progress, Results& results) {
  const auto began = Clock::now();
  const auto left = [&] { return plan.budget - milliseconds_since(began) / 1000; };
  for (const Case& one : cases) results.cases.push_back({one, {}});
  measure_all_limits(plan, progress, results);
  std::vector<CaseRun> runs;
  runs.reserve(cases.size());
  for (CaseResults& one : results.cases) {
    CaseRun& run = runs.emplace_back(one, engines, plan, progress);
    if (left() <= 0) run.give_up("the time was spent before: give a larger --budget");
    if (plan.warm_up && run.goes_on()) run.run(false);
    if (run.goes_on() && run.cost() <= std::max(left(), 0.0)) run.run(true);
    if (run.rounds() == 0) run.give_up("the time was spent before: give a larger --budget");
  }
  while (CaseRun* next = next_of(runs, left())) next->run(true);
}

}  // namespace bench
