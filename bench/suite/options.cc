#include "bench/suite/options.h"

#include <CLI/CLI.hpp>

namespace bench {
namespace {

// "threads=10,100": what it sets, by name. One number where there is one.
void set_sizes(const std::string& text, Sizes& sizes) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) throw CLI::ValidationError("--sizes", "takes NAME=N[,N...], not " + text);
  const std::string name = text.substr(0, equals);
  std::vector<long> numbers;
  for (const std::string& word : CLI::detail::split(text.substr(equals + 1), ',')) {
    long number = 0;
    if (!CLI::detail::lexical_cast(word, number) || number < 1 || number > 1 << 20)
      throw CLI::ValidationError("--sizes", "takes numbers from 1 to 1048576, not " + word);
    numbers.push_back(number);
  }
  const std::map<std::string, std::vector<long>*> lists = {{"memory", &sizes.memory},
                                                           {"threads", &sizes.threads},
                                                           {"processes", &sizes.processes},
                                                           {"files", &sizes.files},
                                                           {"pipes", &sizes.pipes},
                                                           {"mappings", &sizes.mappings},
                                                           {"connections", &sizes.connections}};
  const std::map<std::string, long*> singles = {{"kinds", &sizes.kinds},
                                                {"pause", &sizes.pause},
                                                {"numpy", &sizes.numpy},
                                                {"redis-keys", &sizes.redis_keys},
                                                {"torch-width", &sizes.torch_width},
                                                {"rank-mib", &sizes.rank_mib}};
  if (const auto list = lists.find(name); list != lists.end())
    *list->second = numbers;
  else if (const auto single = singles.find(name); single != singles.end() && numbers.size() == 1)
    *single->second = numbers[0];
  else
    throw CLI::ValidationError("--sizes", "there is no such size: " + text);
}

void declare_engines(CLI::App& app, Options& o) {
  app.add_option("--mini-criu", o.places.mini_criu, "This mini-criu (default: the one built beside)")
      ->type_name("FILE");
  app.add_option("--criu", o.places.criu, "This CRIU (default: criu in PATH)")->type_name("FILE");
  app.add_option("--dmtcp", o.places.dmtcp, "The folder of this DMTCP (default: that of dmtcp_launch in PATH)")
      ->type_name("FOLDER");
  app.add_option("--without", o.places.left_out, "Leave this engine out: \"mini-criu --live\", criu, dmtcp, ...")
      ->type_name("ENGINE");
  app.add_option("--python", o.workshop.python,
                 "Interpreter of the programs in Python (default: one that has what they need)")
      ->type_name("FILE");
}

void declare_measuring(CLI::App& app, Options& o, std::vector<std::string>& sizes, int& rounds, double& budget,
                       long& limit) {
  app.add_flag("--quick", o.quick, "Every case once and small, to see that it works");
  app.add_option("--case", o.only, "Only cases whose names contain TEXT (may be given again)")->type_name("TEXT");
  app.add_option("--sizes", sizes,
                 "Other sizes: memory=64,8192 or threads, processes, files, mappings, pipes, connections; one for "
                 "kinds, pause, numpy, redis-keys, torch-width, rank-mib (MiB, things, keys)")
      ->type_name("NAME=N,...");
  app.add_option("--rounds", rounds, "At most so many counted rounds of each case (default: 9; quick: 1)")
      ->check(CLI::Range(1, 1000));
  app.add_option("--budget", budget, "Seconds for all (default: 900; quick: 170)")->check(CLI::Range(1.0, 86400.0));
  app.add_option("--limit", limit, "Seconds after which an operation has failed (default: 60; quick: 20)")
      ->check(CLI::Range(1, 3600));
  app.add_option("--memory-dir", o.plan.how.memory, "Where images go, on a file system in memory")
      ->capture_default_str()
      ->type_name("FOLDER");
  app.add_option("--disk-dir", o.plan.how.disk, "A folder on a disk: adds the cases whose images go there")
      ->type_name("FOLDER");
}

void declare_output(CLI::App& app, Options& o) {
  app.add_option("--json", o.json, "Write everything, every sample too")->type_name("FILE");
  app.add_option("--html", o.html, "Write a page with charts")->type_name("FILE");
  app.add_option("--markdown", o.markdown, "Write the tables of docs/benchmarks.md")->type_name("FILE");
  app.add_option("--from", o.from, "Measure nothing: take these results")->type_name("RESULTS.json");
  app.add_option("--check", o.check, "Fail where a ratio to CRIU is more than 15 % above that of these results")
      ->type_name("BASELINE.json");
  app.add_flag("--list", o.list, "Print the cases and stop");
  app.add_flag("--all-figures", o.all_figures, "Print CPU time and memory, too");
  app.add_flag("--harmed", o.harmed, "Only programs that come to harm, which must be noticed");
}

}  // namespace

Options read_options(int argc, char** argv) {
  Options o;
  o.places.mini_criu = MCR_BENCH_ENGINE;
  o.workshop.victims = MCR_BENCH_VICTIMS;
  o.workshop.scripts = std::string(MCR_BENCH_SOURCE) + "/bench/scripts";
  o.plan.how.memory = "/dev/shm";
  std::vector<std::string> sizes;
  int rounds = 0;
  double budget = 0;
  long limit = 0;
  CLI::App app("Measures checkpoint engines in turn, on programs that must be right afterwards. See bench/README.md.",
               "bench/compare");
  declare_engines(app, o);
  declare_measuring(app, o, sizes, rounds, budget, limit);
  declare_output(app, o);
  try {
    app.parse(argc, argv);
    o.sizes = o.quick ? quick_sizes() : full_sizes();
    for (const std::string& text : sizes) set_sizes(text, o.sizes);
  } catch (const CLI::ParseError& e) {
    exit(app.exit(e) == 0 ? 0 : 2);
  }
  o.plan.rounds = rounds > 0 ? rounds : o.quick ? 1 : 9;
  o.plan.budget = budget > 0 ? budget : o.quick ? 170 : 900;
  o.plan.warm_up = !o.quick;
  o.places.limit = o.plan.how.limit = std::chrono::seconds(limit > 0 ? limit : o.quick ? 20 : 60);
  o.workshop.disk = !o.plan.how.disk.empty();
  return o;
}

}  // namespace bench
