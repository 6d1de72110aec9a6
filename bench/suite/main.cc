// bench/compare: engines in turn, on programs that must be right afterwards. See bench/README.md.
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>

#include "bench/suite/check.h"
#include "bench/suite/host.h"
#include "bench/suite/options.h"
#include "bench/suite/run_folder.h"
#include "bench/suite/table.h"

namespace bench {
namespace {

using nlohmann::json;

std::vector<Case> wanted_cases(const Options& o) {
  std::vector<Case> cases = o.harmed ? harmed_cases(o.workshop) : all_cases(o.sizes, o.workshop);
  if (o.only.empty()) return cases;
  std::erase_if(cases, [&o](const Case& one) {
    return std::none_of(o.only.begin(), o.only.end(),
                        [&one](const std::string& part) { return one.name.find(part) != std::string::npos; });
  });
  return cases;
}

// Folders of this machine say nothing to others.
void shorten_reasons(const Options& o, const Measure& how, Results& results) {
  const std::pair<std::string, std::string> replaced[] = {{how.memory + "/round-", "FOLDER/"},
                                                          {how.disk + "/round-", "FOLDER/"},
                                                          {o.workshop.victims + "/", ""},
                                                          {o.places.dmtcp + "/", ""}};
  for (CaseResults& one : results.cases)
    for (Result& result : one.results)
      for (const auto& [path, shorter] : replaced)
        for (size_t at; path.size() > 10 && (at = result.reason.find(path)) != std::string::npos;)
          result.reason.replace(at, path.size() + (shorter == "FOLDER/" ? 6 : 0), shorter);
  for (CaseResults& one : results.cases)
    for (Result& result : one.results) std::replace(result.reason.begin(), result.reason.end(), '\n', ' ');
}

json run_all(const Options& o, const std::vector<Case>& cases) {
  const std::vector<Found> engines = find_engines(o.places);
  Results results;
  results.machine = describe_machine(o.plan.how.memory, o.plan.how.disk);
  results.engines = describe_engines(engines);
  results.suite = {{"commit", source_commit()},
                   {"mode", o.quick ? "quick" : "full"},
                   {"started", now_as_text()},
                   {"rounds_at_most", o.plan.rounds},
                   {"load_before", load_average()}};
  Plan plan = o.plan;
  const RunFolder memory(plan.how.memory);
  std::optional<RunFolder> disk;
  if (!plan.how.disk.empty()) disk.emplace(plan.how.disk);
  plan.how.memory = memory.path();
  if (disk) plan.how.disk = disk->path();
  end_cleanly_on_signals({plan.how.memory, plan.how.disk});
  const auto began = Clock::now();
  {
    ProgressLine line(o.plan.budget);
    measure_all(
        cases, engines, plan,
        [&](const std::string& what, const std::string& engine, int round) {
          line.show(milliseconds_since(began) / 1000, what, engine, round);
        },
        results);
  }
  results.suite["seconds"] = milliseconds_since(began) / 1000;
  shorten_reasons(o, plan.how, results);
  return to_json(results);
}

// The folder it is told to be in is the one of the file itself.
void write_reports(const Options& o, const std::string& results) {
  if (o.html.empty() && o.markdown.empty()) return;
  Words command{"python3", "-B", std::string(MCR_BENCH_SOURCE) + "/bench/report/report.py", results};
  if (!o.html.empty()) command.insert(command.end(), {"--html", o.html});
  if (!o.markdown.empty()) command.insert(command.end(), {"--markdown", o.markdown});
  char output[] = "/tmp/mcr-bench-XXXXXX";
  close(mkstemp(output));
  try {
    run_well(command, output, std::chrono::seconds(120));
  } catch (...) {
    unlink(output);
    throw;
  }
  unlink(output);
}

// How many cases mini-criu or a variant of it fails.
int own_failures(const json& results) {
  int failures = 0;
  for (const json& one : results["cases"])
    for (const json& result : one["results"])
      if (result["engine"].get<std::string>().starts_with("mini-criu") &&
          (result["status"] == "failed" || result["status"] == "wrong"))
        ++failures;
  return failures;
}

bool check(const Options& o, const json& results) {
  const Verdict verdict = compare_with_baseline(results, load_json(o.check));
  for (const std::string& line : verdict.skipped) printf("not compared: %s\n", line.c_str());
  for (const std::string& line : verdict.worse) printf("worse: %s\n", line.c_str());
  printf("check: %d ratios to CRIU compared, %zu worse by more than 15 %%\n", verdict.compared, verdict.worse.size());
  if (verdict.compared == 0 && verdict.worse.empty()) printf("check: nothing could be compared, which is no success\n");
  return verdict.compared > 0 && verdict.worse.empty();
}

int run(int argc, char** argv) {
  const Options o = read_options(argc, argv);
  json results;
  if (o.from.empty()) {
    const std::vector<Case> cases = wanted_cases(o);
    if (cases.empty()) throw Failure("no case has such a name: see --list");
    if (o.list) {
      for (const Case& one : cases)
        printf("%s%s%s\n", one.name.c_str(), one.missing.empty() ? "" : "  missing: ", one.missing.c_str());
      return 0;
    }
    if (geteuid() != 0) {
      fprintf(stderr, "bench/compare: dumping and restoring under the old pid takes root\n");
      return 77;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    results = run_all(o, cases);
  } else {
    results = load_json(o.from);
  }
  print_table(results, o.all_figures);
  std::string file = o.json.empty() ? o.from : o.json;
  char temporary[] = "/tmp/mcr-bench-XXXXXX";
  if (file.empty()) close(mkstemp(temporary)), file = temporary;
  if (file != o.from) save_json(results, file);
  write_reports(o, file);
  if (file == temporary) unlink(temporary);
  const int failures = own_failures(results);
  if (failures > 0) printf("mini-criu fails %d cases\n", failures);
  const bool good = o.check.empty() || check(o, results);
  return failures == 0 && good ? 0 : 1;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  try {
    return bench::run(argc, argv);
  } catch (const std::exception& e) {
    fprintf(stderr, "bench/compare: %s\n", e.what());
    return 1;
  }
}
