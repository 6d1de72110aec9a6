#include "bench/suite/table.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "bench/suite/results.h"

namespace bench {
namespace {

using nlohmann::json;

std::string amount(const std::string& figure, double value) {
  if (figure.ends_with("_bytes")) return fmt::format("{:.1f} MiB", value / (1 << 20));
  return value < 100 ? fmt::format("{:.1f} ms", value) : fmt::format("{:.0f} ms", value);
}

// Half of the samples lie within this of the median.
std::string spread(const json& s) {
  const double median = s["median"], low = s["low"], high = s["high"];
  if (s["count"] < 2 || median <= 0) return "";
  return fmt::format(" ±{:.0f}%", std::max(high - median, median - low) / median * 100);
}

std::string exponent(const json& results, const json& one, const json& result, const std::string& figure) {
  for (const json& growth : results["growth"])
    if (growth["family"] == one["family"] && growth["engine"] == result["engine"] && growth["figure"] == figure)
      return fmt::format("n^{:.2f}", growth["exponent"].get<double>());
  return "";
}

void print_row(const std::string& name, const std::string& engine, const std::string& rest) {
  fmt::print("{:<26} {:<20} {}\n", name, engine, rest);
}

void print_case(const json& results, const json& one, const std::vector<std::string>& figures) {
  std::string name = one["name"];
  for (const json& result : one["results"]) {
    const std::string engine = result["engine"];
    if (result["status"] != "ok") {
      print_row(name, engine, result["status"].get<std::string>() + ": " + result.value("reason", ""));
      name.clear();
      continue;
    }
    std::string shown = engine;
    for (const std::string& figure : figures) {
      if (!result["summary"].contains(figure)) continue;
      const json& s = result["summary"][figure];
      const json ratio = result.value("ratio", json::object());
      const std::string beside = ratio.contains(figure) ? fmt::format("{:.2f}", ratio[figure].get<double>()) : "";
      print_row(name, shown,
                fmt::format("{:<15} {:>12}{:<7} {:>3}x {:>7} {}", figure, amount(figure, s["median"]), spread(s),
                            s["count"].get<int>(), beside, exponent(results, one, result, figure)));
      shown.clear();
      name.clear();
    }
  }
}

void print_limits(const json& results) {
  for (const json& limit : results["limits"]) {
    std::string line;
    for (const char* figure : {"memcpy_ms", "fill_ms", "write_ms", "read_ms", "fork_ms"})
      line += fmt::format("{} {}   ", figure, amount(figure, limit["summary"][figure]["median"]));
    print_row(fmt::format("limits/{}MiB", limit["mib"].get<long>()), "no engine", line);
  }
}

}  // namespace

void print_table(const json& results, bool all_figures) {
  std::vector<std::string> figures = {"dump_ms", "pause_ms", "restore_ms", "answer_ms", "image_bytes", "work_ms"};
  if (all_figures) figures = compared_figures();
  fmt::print("{:<26} {:<20} {:<15} {:>12}{:<7} {:>4} {:>7} {}\n", "case", "engine", "figure", "median", " spread", "n",
             "/criu", "growth");
  print_limits(results);
  for (const json& one : results["cases"]) print_case(results, one, figures);
}

ProgressLine::~ProgressLine() {
  if (open_) fputc('\n', stderr);
}

void ProgressLine::show(double seconds, const std::string& what, const std::string& engine, int round) {
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const std::string text = fmt::format("[{:3.0f} of {:.0f} s] {} {} {}", seconds, budget_, what, engine,
                                       round == 0 ? "warm-up" : "round " + std::to_string(round));
  if (terminal)
    fmt::print(stderr, "\r{:<100}", text), open_ = true;
  else if (what != last_)
    fmt::print(stderr, "{}\n", text);
  last_ = what;
  fflush(stderr);
}

}  // namespace bench
