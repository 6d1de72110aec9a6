// The engines behind one face: how each starts, dumps and restores a program. bench/README.md says what is timed.
#pragma once

#include <memory>
#include <optional>

#include "bench/suite/process.h"

namespace bench {

// Folders of one round: empty at its start, removed at its end.
struct Place {
  std::string folder;
  std::string images() const { return folder + "/images"; }
  std::string previous() const { return folder + "/previous"; }  // what an incremental image builds upon
  std::string file(const std::string& name) const { return folder + "/" + name; }
};

struct Target {
  pid_t pid = -1;            // first process of the program
  bool runs_on = false;      // after the dump
  bool connected = false;    // has TCP connections among its own processes
  bool incremental = false;  // its next image builds upon the one of prepare_increment()
};

// One operation. milliseconds: until the engine's process has ended; absent where it becomes the program itself.
struct Operation {
  std::optional<double> milliseconds;
  double cpu_seconds = 0;
  int64_t peak_bytes = 0;
  std::map<std::string, double> phases;  // what the engine says of its own times, ms
};

class Engine {
 public:
  Engine(std::string name, std::string version, std::chrono::seconds limit)
      : name_(std::move(name)), version_(std::move(version)), limit_(limit) {}
  virtual ~Engine() = default;

  const std::string& name() const { return name_; }
  const std::string& version() const { return version_; }

  // Before the program starts; and what its command line becomes under this engine.
  virtual void begin(const Place&) {}
  virtual Words launch(const Place&, const Words& command) const { return command; }
  // CPU seconds of processes of the engine that run all the time; they are descendants of ours and ended by the caller.
  virtual double standing_cpu_seconds() const { return 0; }

  // What an image takes at least for each process of the program, besides its memory.
  virtual long image_mib_per_process() const { return 0; }

  // An image to build upon; the program runs on. Throws Failure where the engine has no such images.
  virtual void prepare_increment(const Place&, const Target&) { throw Failure(name_ + " makes no incremental images"); }
  virtual Operation dump(const Place& place, const Target& target) = 0;
  // Sets target.pid where the program gets another one. `streams`: of a program that the engine's process becomes.
  virtual Operation restore(const Place& place, Target& target, const Streams& streams) = 0;

 protected:
  std::string name_, version_;
  std::chrono::seconds limit_;
};

// An engine that was looked for. Without `engine`, `reason` says why.
struct Found {
  std::string name;
  std::unique_ptr<Engine> engine;
  std::string reason;
};

struct Places {
  std::string mini_criu, criu, dmtcp;  // file, file, folder; "" where it is to be looked for in PATH
  std::vector<std::string> left_out;   // engines that are not wanted
  std::chrono::seconds limit{60};      // of one operation
};

// mini-criu and its variants ("mini-criu --live", "mini-criu --no-sync"), "criu", "dmtcp".
std::vector<Found> find_engines(const Places& places);

Found find_criu_like(const std::string& name, const std::string& file, std::chrono::seconds limit);
Found find_dmtcp(const std::string& folder, std::chrono::seconds limit);

}  // namespace bench
