#include "bench/engine.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

namespace bench {
namespace {

// {"times_ms": {"freeze": 0.3, ...}} of mini-criu --json; none of its strings can contain this key.
std::map<std::string, double> times_of_json(const std::string& text) {
  std::map<std::string, double> times;
  size_t at = text.find("\"times_ms\":");
  const size_t end = text.find('}', at);
  if (at == std::string::npos || end == std::string::npos) return times;
  at = text.find('{', at);
  for (at = text.find('"', at); at < end; at = text.find('"', at)) {
    const size_t close = text.find('"', at + 1), colon = text.find(':', close);
    times[text.substr(at + 1, close - at - 1)] = strtod(text.c_str() + colon + 1, nullptr);
    at = colon;
  }
  return times;
}

// "Frozen time: 1234 us" of criu --display-stats.
std::map<std::string, double> times_of_stats(const std::string& text) {
  const std::pair<const char*, const char*> lines[] = {
      {"Freezing time: ", "freeze"},    {"Frozen time: ", "frozen"},  {"Memory dump time: ", "memory"},
      {"Memory write time: ", "write"}, {"Forking time: ", "create"}, {"Restore time: ", "restore"}};
  std::map<std::string, double> times;
  for (const auto& [label, key] : lines)
    if (const size_t at = text.find(label); at != std::string::npos)
      times[key] = strtod(text.c_str() + at + std::string(label).size(), nullptr) / 1000;
  return times;
}

std::string name_of(Brand brand, bool sync) {
  switch (brand) {
    case Brand::criu:
      return "criu";
    case Brand::none:
      return "none";
    case Brand::mini_criu:
      break;
  }
  return sync ? "mini-criu" : "mini-criu-no-sync";
}

}  // namespace

Engine::Engine(Brand brand, const Settings& settings, std::string images, bool sync)
    : brand_(brand),
      sync_(sync),
      name_(name_of(brand, sync)),
      program_(brand == Brand::criu ? settings.criu : settings.engine),
      images_(std::move(images)),
      scratch_(std::filesystem::path(images_).parent_path()) {}

Sample Engine::run(std::vector<std::string> command) const {
  if (brand_ == Brand::criu)
    command.push_back("--display-stats");
  else
    command.push_back("--json");
  const Outcome outcome = run_command(command, scratch_);
  Sample sample{outcome.milliseconds,
                brand_ == Brand::criu ? times_of_stats(outcome.output) : times_of_json(outcome.output)};
  sample.phases["cpu"] = outcome.cpu_milliseconds;
  return sample;
}

// On a disk, what the removal and the dump before it still have to write would be waited for in this one.
void Engine::remove_images() const {
  std::filesystem::remove_all(images_);
  std::filesystem::create_directory(images_);
  const int folder = open(images_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) throw Failure("cannot open " + images_);
  syncfs(folder);
  close(folder);
}

Sample Engine::dump(pid_t pid, bool leave_running, const std::vector<std::string>& options) const {
  if (brand_ == Brand::none) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return {10, {}};
  }
  remove_images();
  std::vector<std::string> command{program_, "dump", "-t", std::to_string(pid), "-D", images_, "-o", "dump.log"};
  if (leave_running) command.push_back("-R");
  if (!sync_ && brand_ == Brand::mini_criu) command.push_back("--no-sync");
  command.insert(command.end(), options.begin(), options.end());
  return run(std::move(command));
}

Sample Engine::restore(const std::vector<std::string>& options) const {
  std::vector<std::string> command{program_, "restore", "-d", "-D", images_, "-o", "restore.log"};
  if (brand_ == Brand::criu) command.insert(command.end(), options.begin(), options.end());
  return run(std::move(command));
}

}  // namespace bench
