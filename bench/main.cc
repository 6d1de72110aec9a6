// engine-bench: dumps and restores programs with whole engines and measures from outside. See bench/README.md.
#include <benchmark/benchmark.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <list>
#include <thread>

#include "bench/series.h"

namespace bench {
namespace {

// Removed at the end, images and all.
class Directory {
 public:
  explicit Directory(const std::string& parent) : path_(parent + "/engine-bench-XXXXXX") {
    if (!mkdtemp(path_.data())) throw Failure("cannot make a folder in " + parent);
  }
  ~Directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Program {
  std::string path;
  std::vector<std::string> arguments;
  std::vector<std::string> options{};  // of the dump; CRIU wants them at the restore too
};

void settle() {
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

// A fresh program, dumped and restored; afterwards it must give the answers that it gave before.
Samples dump_and_restore(const Engine& engine, const Program& program, const std::string& directory) {
  Victim victim(program.path, program.arguments, directory);
  const uint64_t before = victim.ask();
  settle();
  Samples samples;
  samples["dump"] = engine.dump(victim.pid(), false, program.options);
  victim.expect_killed();
  samples["restore"] = engine.restore(program.options);
  if (victim.ask() != before || victim.ask() != before) throw Failure("the restored program counts otherwise");
  return samples;
}

// The largest gap in the program's own reading of the clock while a dump lets it go on.
Samples pause(const Engine& engine, const Program& program, const std::string& directory) {
  Victim victim(program.path, program.arguments, directory);
  settle();
  victim.ask();
  Sample dump = engine.dump(victim.pid(), true, program.options);
  Sample gap{static_cast<double>(victim.ask()) / 1e6, {}};
  if (dump.phases.contains("frozen")) gap.phases["frozen"] = dump.phases["frozen"];
  gap.phases["dump_wall"] = dump.milliseconds;
  victim.ask();
  return {{"pause", gap}};
}

Samples dump_on_disk(const Engine& engine, const Program& program, const std::string& directory) {
  Victim victim(program.path, program.arguments, directory);
  const uint64_t before = victim.ask();
  settle();
  Samples samples;
  samples["dump"] = engine.dump(victim.pid(), true, program.options);
  if (victim.ask() != before) throw Failure("the program counts otherwise after its dump");
  return samples;
}

// Programs of many things of one kind.
std::vector<std::pair<std::string, Program>> many_things(const Settings& s, const std::string& tmpfs) {
  const auto number = [&s](int full) { return std::to_string(s.quick ? std::max(full / 100, 2) : full); };
  const std::string processes = number(200), mappings = number(25'000), files = number(10'000), pipes = number(2'000),
                    connections = number(20), folder = tmpfs + "/files";
  return {{"processes:" + processes, {s.victims + "/processes", {processes, "64"}}},
          {"mappings:" + mappings + "-pairs", {s.victims + "/mappings", {mappings}}},
          {"files:" + files, {s.victims + "/files", {files, folder, files}}},
          {"one-file:" + files, {s.victims + "/files", {files, folder, "1"}}},
          {"pipes:" + pipes, {s.victims + "/pipes", {pipes}}},
          {"connections:" + connections, {s.victims + "/connections", {connections}, {"--tcp-established"}}}};
}

void register_cases(const Settings& s, const std::string& tmpfs, const std::string& disk, std::list<Series>& cases) {
  const Program small{s.victims + "/small", {}}, busy{s.victims + "/busy", {}};
  const Program threads{s.victims + "/threads", {std::to_string(s.threads)}};
  const Program memory{s.victims + "/memory", {std::to_string(s.memory_mib)}};
  std::vector<Engine> engines{{Brand::mini_criu, s, tmpfs + "/images", true}};
  if (!s.criu.empty()) engines.emplace_back(Brand::criu, s, tmpfs + "/images", true);
  const auto both_ways = [&tmpfs](const Program& program) {
    return [program, &tmpfs](const Engine& engine) { return dump_and_restore(engine, program, tmpfs); };
  };
  cases.emplace_back("small", std::vector<std::string>{"dump", "restore"}, engines, both_ways(small));
  std::vector<Engine> and_noise = engines;
  and_noise.emplace_back(Brand::none, s, tmpfs + "/images", true);
  cases.emplace_back("small", std::vector<std::string>{"pause"}, and_noise,
                     [busy, &tmpfs](const Engine& engine) { return pause(engine, busy, tmpfs); });
  cases.emplace_back("threads:" + std::to_string(s.threads), std::vector<std::string>{"dump", "restore"}, engines,
                     both_ways(threads));
  for (const auto& [name, program] : many_things(s, tmpfs))
    cases.emplace_back(name, std::vector<std::string>{"dump", "restore"}, engines, both_ways(program));
  const std::string mib = std::to_string(s.memory_mib) + "MiB";
  cases.emplace_back("memory:" + mib, std::vector<std::string>{"dump", "restore"}, engines, both_ways(memory));
  if (disk.empty()) return;
  std::vector<Engine> on_disk{{Brand::mini_criu, s, disk + "/images", true},
                              {Brand::mini_criu, s, disk + "/images", false}};
  if (!s.criu.empty()) on_disk.emplace_back(Brand::criu, s, disk + "/images", true);
  for (const auto& [name, program] : {std::pair("disk/small", small), std::pair("disk/memory:64MiB", memory)}) {
    Program smaller = program;
    if (!smaller.arguments.empty()) smaller.arguments = {"64"};
    cases.emplace_back(name, std::vector<std::string>{"dump"}, on_disk,
                       [smaller, &disk](const Engine& engine) { return dump_on_disk(engine, smaller, disk); });
  }
}

int run(int argc, char** argv) {
  const Settings settings = take_settings(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  if (geteuid() != 0) {
    fprintf(stderr, "engine-bench: dumping and restoring under the old pid takes root\n");
    return 77;
  }
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const Directory tmpfs(settings.tmpfs);
  // The quick mode tries these cases too, wherever temporary files go.
  const std::string disk_parent = settings.quick && settings.disk.empty() ? "/tmp" : settings.disk;
  std::unique_ptr<Directory> disk;
  if (!disk_parent.empty()) disk = std::make_unique<Directory>(disk_parent);
  std::list<Series> cases;
  const std::string disk_path = disk ? disk->path() : "";
  register_cases(settings, tmpfs.path(), disk_path, cases);
  for (Series& one : cases) one.register_all(settings.rounds, !settings.quick);
  benchmark::RunSpecifiedBenchmarks();
  return anything_failed() ? 1 : 0;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  try {
    return bench::run(argc, argv);
  } catch (const std::exception& e) {
    fprintf(stderr, "engine-bench: %s\n", e.what());
    return 1;
  }
}
