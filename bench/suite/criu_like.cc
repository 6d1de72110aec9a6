// mini-criu and CRIU, whose command lines are the same.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "bench/suite/engine.h"

namespace bench {
namespace {

using Phases = std::map<std::string, double>;

// {"times_ms": {"freeze": 0.3, ...}, ...} of mini-criu --json, the last line that it prints.
Phases phases_of_json(const std::string& text) {
  Phases phases;
  const size_t at = text.rfind("{\"");
  const auto object = nlohmann::json::parse(text.substr(std::min(text.find('{'), at)), nullptr, false);
  if (!object.is_object() || !object.contains("times_ms")) return phases;
  for (const auto& [name, value] : object["times_ms"].items())
    if (value.is_number()) phases[name] = value.get<double>();
  return phases;
}

// "Frozen time: 1234 us" of criu --display-stats.
Phases phases_of_stats(const std::string& text) {
  const std::pair<std::string, const char*> lines[] = {
      {"Freezing time: ", "freeze"},    {"Frozen time: ", "frozen"},  {"Memory dump time: ", "memory"},
      {"Memory write time: ", "write"}, {"Forking time: ", "create"}, {"Restore time: ", "restore"}};
  Phases phases;
  for (const auto& [label, name] : lines)
    if (const size_t at = text.find(label); at != std::string::npos)
      phases[name] = strtod(text.c_str() + at + label.size(), nullptr) / 1000;
  return phases;
}

class CriuLike : public Engine {
 public:
  CriuLike(const std::string& name, std::string version, std::string program, Words extra, std::chrono::seconds limit)
      : Engine(name, std::move(version), limit),
        program_(std::move(program)),
        extra_(std::move(extra)),
        ours_(name.starts_with("mini-criu")) {
    // CRIU runs iptables-restore, or does it itself when told.
    if (!ours_ && find_program("iptables-restore").empty()) lock_ = {"--network-lock", "nftables"};
  }

  void prepare_increment(const Place& place, const Target& target) override {
    std::filesystem::create_directory(place.previous());
    run(place,
        {program_, "pre-dump", "-t", std::to_string(target.pid), "-D", place.previous(), "-o", "dump.log",
         "--track-mem"},
        place.previous() + "/dump.log");
  }

  Operation dump(const Place& place, const Target& target) override {
    Words command{program_, "dump", "-t", std::to_string(target.pid), "-D", place.images(), "-o", "dump.log"};
    if (target.runs_on) command.push_back("-R");
    if (target.incremental) command.insert(command.end(), {"--track-mem", "--prev-images-dir", "../previous"});
    if (!ours_) command.insert(command.end(), {"--ghost-limit", "1G"});  // as large as a deleted file may be
    if (target.connected) add_connected(command);
    command.insert(command.end(), extra_.begin(), extra_.end());
    return run(place, std::move(command), place.images() + "/dump.log");
  }

  Operation restore(const Place& place, Target& target, const Streams&) override {
    Words command{program_, "restore", "-d", "-D", place.images(), "-o", "restore.log"};
    if (target.connected && !ours_) add_connected(command);
    return run(place, std::move(command), place.images() + "/restore.log");
  }

 private:
  void add_connected(Words& command) const {
    command.push_back("--tcp-established");
    command.insert(command.end(), lock_.begin(), lock_.end());
  }

  // CRIU says on its standard error only that it failed, and why in its log.
  Operation run(const Place& place, Words command, const std::string& log) const {
    command.push_back(ours_ ? "--json" : "--display-stats");
    const Outcome outcome = run_to_end(command, place.file("engine.out"), limit_);
    if (outcome.status != 0) throw Failure(command[1] + " failed: " + reason(log, outcome.output));
    return {outcome.milliseconds, outcome.cpu_seconds, outcome.peak_bytes,
            ours_ ? phases_of_json(outcome.output) : phases_of_stats(outcome.output)};
  }

  // The first error of the log says more than the last, but not one that CRIU goes on after. What follows up to the
  // next time stamp belongs to it.
  static std::string reason(const std::string& log, const std::string& output) {
    const std::string text = read_text(log);
    size_t at = text.find("Error");
    while (at != std::string::npos && text.compare(text.find("): ", at) + 3, 6, "rlimit") == 0)
      at = text.find("Error", at + 1);
    if (at == std::string::npos) return output.substr(0, 400);
    return text.substr(at, std::min<size_t>(text.find("\n(", at) - at, 400));
  }

  std::string program_;
  Words extra_, lock_;
  bool ours_;
};

}  // namespace

Found find_criu_like(const std::string& name, const std::string& file, std::chrono::seconds limit) {
  const size_t space = name.find(' ');
  const std::string brand = name.substr(0, space);
  const std::string program = find_program(file.empty() ? brand : file);
  if (program.empty()) return {name, nullptr, "no " + brand + " was found: give --" + brand + " FILE"};
  std::string version = first_line_of({program, "--version"});
  for (const std::string_view prefix : {"Version: ", "mini-criu "})
    if (version.starts_with(prefix)) version = version.substr(prefix.size());
  Words extra;
  if (space != std::string::npos) extra.push_back(name.substr(space + 1));
  return {name, std::make_unique<CriuLike>(name, version, program, extra, limit), ""};
}

std::vector<Found> find_engines(const Places& places) {
  std::vector<Found> engines;
  for (const char* name : {"mini-criu", "mini-criu --live", "mini-criu --no-sync", "mini-criu --compress=lz4"})
    engines.push_back(find_criu_like(name, places.mini_criu, places.limit));
  engines.push_back(find_criu_like("criu", places.criu, places.limit));
  engines.push_back(find_dmtcp(places.dmtcp, places.limit));
  for (Found& found : engines)
    for (const std::string& unwanted : places.left_out)
      if (found.name == unwanted) found.engine.reset(), found.reason = "left out";
  return engines;
}

}  // namespace bench
