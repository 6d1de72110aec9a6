// DMTCP: a library in the program from its start, and a coordinator that all its processes are connected to. The
// process of dmtcp_restart becomes the program, so that a restore has no end of its own.
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "bench/suite/engine.h"

namespace bench {
namespace {

using namespace std::chrono_literals;

bool has_ended(pid_t pid) {
  const std::string stat = read_text("/proc/" + std::to_string(pid) + "/stat");
  const size_t bracket = stat.rfind(')');
  return bracket == std::string::npos || stat.compare(bracket, 3, ") Z") == 0;
}

int64_t peak_of(pid_t pid) {
  const std::string status = read_text("/proc/" + std::to_string(pid) + "/status");
  const size_t at = status.find("VmHWM:");
  return at == std::string::npos ? 0 : strtoll(status.c_str() + at + 6, nullptr, 10) * 1024;
}

class Dmtcp : public Engine {
 public:
  Dmtcp(const std::string& version, std::string folder, std::chrono::seconds limit)
      : Engine("dmtcp", version, limit), folder_(std::move(folder)) {}

  void begin(const Place& place) override {
    const std::string file = place.file("port");
    coordinator_ = start({tool("coordinator"), "-q", "-q", "-p", "0", "--port-file", file, "--tmpdir", place.folder,
                          "--ckptdir", place.folder, "--timeout", "600"},
                         {"/dev/null", place.file("coordinator.out")}, false);
    for (const auto give_up = Clock::now() + 10s; (port_ = read_text(file)).empty();) {
      if (Clock::now() > give_up) throw Failure("dmtcp_coordinator opens no port");
      std::this_thread::sleep_for(1ms);
    }
    if (port_.back() == '\n') port_.pop_back();
  }

  // Without compression, as the others.
  Words launch(const Place& place, const Words& command) const override {
    Words words{tool("launch"), "-q",        "-q",           "-j",       "-p",        port_,
                "--no-gzip",    "--ckptdir", place.images(), "--tmpdir", place.folder};
    words.insert(words.end(), command.begin(), command.end());
    return words;
  }

  double standing_cpu_seconds() const override { return cpu_seconds_of({coordinator_}); }

  // The library and its arena, in every image.
  long image_mib_per_process() const override { return 23; }

  // dmtcp_command -kc returns at once: the program's end is waited for.
  Operation dump(const Place& place, const Target& target) override {
    const std::vector<pid_t> tree = tree_of(target.pid);
    const double before = cpu_seconds_of({coordinator_});
    const auto began = Clock::now();
    const Outcome outcome =
        run_well({tool("command"), "-p", port_, target.runs_on ? "-bc" : "-kc"}, place.file("engine.out"), limit_);
    while (!target.runs_on && !std::all_of(tree.begin(), tree.end(), has_ended)) {
      if (Clock::now() - began > limit_) throw Failure("the program did not end within the limit: " + log(place));
      std::this_thread::sleep_for(200us);
    }
    Operation operation{milliseconds_since(began), outcome.cpu_seconds, outcome.peak_bytes, {}};
    operation.cpu_seconds += cpu_seconds_of({coordinator_}) - before;
    operation.peak_bytes = std::max(operation.peak_bytes, peak_of(coordinator_));
    if (images(place).empty()) throw Failure("no image was written: " + log(place));
    return operation;
  }

  // The program gets the standard streams of dmtcp_restart.
  Operation restore(const Place& place, Target& target, const Streams& streams) override {
    Words command{tool("restart"), "-q", "-q", "-j", "-p", port_, "--tmpdir", place.folder};
    const Words files = images(place);
    command.insert(command.end(), files.begin(), files.end());
    target.pid = start(command, streams, true);
    return {std::nullopt, 0, peak_of(coordinator_), {}};
  }

 private:
  std::string tool(const std::string& name) const { return folder_ + "/dmtcp_" + name; }

  static std::string log(const Place& place) {
    std::string text = read_text(place.file("coordinator.out"));
    for (size_t at; (at = text.find("dmtcp> ")) != std::string::npos;) text.erase(at, 7);
    return text.substr(text.size() - std::min<size_t>(text.size(), 300));
  }

  static Words images(const Place& place) {
    Words files;
    for (const auto& entry : std::filesystem::directory_iterator(place.images()))
      if (entry.path().extension() == ".dmtcp") files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
  }

  std::string folder_, port_;
  pid_t coordinator_ = -1;
};

}  // namespace

Found find_dmtcp(const std::string& folder, std::chrono::seconds limit) {
  std::string bin = folder;
  if (!folder.empty() && find_program(folder + "/dmtcp_launch").empty()) bin = folder + "/bin";
  const std::string launcher = find_program(bin.empty() ? "dmtcp_launch" : bin + "/dmtcp_launch");
  if (launcher.empty()) return {"dmtcp", nullptr, "no dmtcp_launch was found: give --dmtcp FOLDER"};
  bin = std::filesystem::path(launcher).parent_path();
  for (const char* name : {"coordinator", "command", "restart"})
    if (find_program(bin + "/dmtcp_" + name).empty())
      return {"dmtcp", nullptr, "dmtcp_launch has no dmtcp_" + std::string(name) + " beside it"};
  std::string version = first_line_of({launcher, "--version"});
  if (const size_t at = version.rfind(' '); at != std::string::npos) version = version.substr(at + 1);
  return {"dmtcp", std::make_unique<Dmtcp>(version, bin, limit), ""};
}

}  // namespace bench
