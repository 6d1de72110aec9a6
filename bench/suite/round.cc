#include "bench/suite/round.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "bench/suite/program.h"

namespace bench {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

// The folder of a round. Everything below us has ended when it is removed.
class Workplace {
 public:
  explicit Workplace(const std::string& parent) {
    place_.folder = parent + "/round-XXXXXX";
    if (!mkdtemp(place_.folder.data())) throw Failure("cannot make a folder in " + parent);
    fs::create_directory(place_.images());
    // What earlier rounds left to be written would be waited for in this one.
    if (const int folder = open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); folder >= 0) {
      syncfs(folder);
      close(folder);
    }
  }
  ~Workplace() {
    end_tree_below_us();
    std::error_code ignored;
    fs::remove_all(place_.folder, ignored);
  }
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;
  const Place& place() const { return place_; }

 private:
  Place place_;
};

Words with_folder(Words command, const std::string& folder) {
  for (std::string& word : command)
    if (const size_t at = word.find("{folder}"); at != std::string::npos) word.replace(at, 8, folder);
  return command;
}

// What the files take from the file system: holes do not count.
double bytes_in(const std::string& folder) {
  double sum = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    struct stat status {};
    const std::string path = entry.path();
    if (entry.is_regular_file() && entry.path().extension() != ".log" && stat(path.c_str(), &status) == 0)
      sum += static_cast<double>(status.st_blocks) * 512;
  }
  return sum;
}

void settle() {
  std::this_thread::sleep_for(20ms);
}

class Round {
 public:
  Round(const Case& one, Engine& engine, const Place& place, std::chrono::seconds limit)
      : case_(one), engine_(engine), place_(place), limit_(limit) {}

  Sample run() {
    engine_.begin(place_);
    Program program(engine_, place_, with_folder(case_.command, place_.folder), limit_);
    program.target().connected = case_.connected;
    sample_["start_ms"] = program.start_milliseconds();
    if (case_.mode == Mode::work) return work(program);
    const uint64_t value = learn_answer(program);
    settle();
    dump(program);
    restore(program);
    const uint64_t again = program.ask();
    if (case_.mode == Mode::stop && (again != value || first_value_ != value))
      throw Failure("the restored program answers " + std::to_string(first_value_) + " and " + std::to_string(again) +
                        " instead of " + std::to_string(value),
                    true);
    return std::move(sample_);
  }

 private:
  Sample work(Program& program) {
    program.ask();  // the first time is for the caches
    double least = 0;
    for (int i = 0; i < 3; ++i) {
      const double ms = static_cast<double>(program.ask()) / 1e6;
      least = i == 0 ? ms : std::min(least, ms);
    }
    sample_["work_ms"] = least;
    return std::move(sample_);
  }

  // The value that it must answer with later, and what an answer costs.
  uint64_t learn_answer(Program& program) {
    const double before = cpu_seconds_of(tree_of(program.target().pid));
    const uint64_t value = program.ask();
    answer_cpu_ = cpu_seconds_of(tree_of(program.target().pid)) - before;
    return value;
  }

  void dump(Program& program) {
    Target& target = program.target();
    target.runs_on = case_.mode == Mode::snapshot;
    if (target.runs_on) {
      if (case_.incremental) engine_.prepare_increment(place_, target);
      target.incremental = case_.incremental;
      program.ask();
      settle();
      sample_["quiet_ms"] = static_cast<double>(program.ask()) / 1e6;
    }
    const std::vector<pid_t> tree = tree_of(target.pid);
    const double before = cpu_seconds_of(tree);
    program.note_moment();
    const Operation operation = engine_.dump(place_, target);
    note("dump", operation);
    double used = 0;  // of a program that works by itself all the time it is not known
    if (target.runs_on) {
      sample_["pause_ms"] = static_cast<double>(program.ask()) / 1e6;
      program.ask();
      end_tree(target.pid);
      program.collect();
      program.back_to_moment();
    } else {
      used = program.collect() - before;
    }
    sample_["dump_cpu_ms"] = (operation.cpu_seconds + std::max(used, 0.0)) * 1000;
    sample_["image_bytes"] = bytes_in(place_.images());
  }

  void restore(Program& program) {
    Target& target = program.target();
    const double standing = engine_.standing_cpu_seconds();
    const auto began = Clock::now();
    const Operation operation = engine_.restore(place_, target, program.streams());
    note("restore", operation);
    double cpu = operation.cpu_seconds;
    const bool returned = operation.milliseconds.has_value();
    if (returned) cpu += cpu_seconds_of(tree_of(target.pid));
    // The look at /proc above is not the engine's: it takes part of a millisecond for each process.
    const double looked = returned ? milliseconds_since(began) - *operation.milliseconds : 0;
    first_value_ = program.ask();
    sample_["answer_ms"] = milliseconds_since(began) - looked;
    if (!returned) cpu += cpu_seconds_of(tree_of(target.pid)) - answer_cpu_ + engine_.standing_cpu_seconds() - standing;
    if (case_.mode == Mode::stop || returned) sample_["restore_cpu_ms"] = std::max(cpu, 0.0) * 1000;
  }

  void note(const std::string& operation, const Operation& done) {
    if (done.milliseconds) sample_[operation + "_ms"] = *done.milliseconds;
    double& peak = sample_["peak_bytes"];
    peak = std::max(peak, static_cast<double>(done.peak_bytes));
    for (const auto& [phase, ms] : done.phases) sample_["engine." + operation + "." + phase] = ms;
  }

  const Case& case_;
  Engine& engine_;
  const Place& place_;
  std::chrono::seconds limit_;
  Sample sample_;
  double answer_cpu_ = 0;
  uint64_t first_value_ = 0;
};

}  // namespace

Sample measure(const Case& one, Engine& engine, const Measure& how) {
  Workplace workplace(one.on_disk ? how.disk : how.memory);
  return Round(one, engine, workplace.place(), how.limit).run();
}

}  // namespace bench
