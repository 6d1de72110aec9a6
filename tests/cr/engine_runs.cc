// Running the engine: with a time limit, and with SIGKILL at a moment of our choice.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "tests/cr/scenario.h"

namespace cr {

namespace {
constexpr int64_t kEngineLimit = 20'000'000'000;

std::string outcome(const EngineRun& run) {
  if (run.too_slow) return "took more than 20 s and was killed";
  if (WIFSIGNALED(run.status)) return "was ended by signal " + std::to_string(WTERMSIG(run.status));
  return "ended with " + std::to_string(WEXITSTATUS(run.status));
}
}  // namespace

EngineRun Scenario::run_engine(std::vector<std::string> arguments, int64_t kill_after_ns) {
  arguments.insert(arguments.begin(), engine_);
  EngineRun run;
  for (const auto& argument : arguments) run.command += (run.command.empty() ? "" : " ") + argument;
  commands_.push_back(run.command);
  std::vector<char*> pointers;
  for (auto& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  std::string output = directory_ + "/engine.out";
  run.started_ns = now_ns();
  pid_t engine = fork();
  if (engine < 0) throw Failure("fork failed");
  if (engine == 0) {
    int in = open("/dev/null", O_RDONLY), out = open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(in, 0), dup2(out, 1), dup2(out, 2);
    if (in > 2) close(in);
    if (out > 2) close(out);
    execv(pointers[0], pointers.data());
    _exit(127);
  }
  if (kill_after_ns >= 0) {
    sleep_ns(std::max<int64_t>(0, run.started_ns + kill_after_ns - now_ns()));
    kill(engine, SIGKILL);
    run.killed_by_us = true;
  }
  bool ended = wait_until(kEngineLimit, [&] {
    auto status = reap(engine);
    if (status) run.status = *status;
    return status.has_value();
  });
  if (!ended) {
    run.too_slow = true;
    kill(engine, SIGKILL);
    waitpid(engine, &run.status, 0);
  }
  run.ended_ns = now_ns();
  return run;
}

EngineRun Scenario::dump(const std::string& images, bool leave_running, bool sync, int64_t kill_after_ns) {
  std::vector<std::string> arguments{"dump", "-t", std::to_string(pid_), "-D", images, "-v4", "-o", "dump.log"};
  if (leave_running) arguments.push_back("-R");
  arguments.insert(arguments.end(), dump_options_.begin(), dump_options_.end());
  if (!sync) arguments.push_back("--no-sync");
  for (auto& [path, size] : rewind_) {
    struct stat status {};
    stat(path.c_str(), &status);
    size = status.st_size;
  }
  EngineRun run = run_engine(arguments, kill_after_ns);
  if (!leave_running)
    for (auto& [path, size] : rewind_) {  // it may have grown until the freeze
      struct stat status {};
      stat(path.c_str(), &status);
      size = status.st_size;
    }
  return run;
}

EngineRun Scenario::restore(const std::string& images, int64_t kill_after_ns, bool leave_stopped) {
  rewind_files();
  remove_segments();
  std::vector<std::string> arguments{"restore", "-D", images, "-d", "-v4", "-o", "restore.log"};
  if (leave_stopped) arguments.push_back("-s");
  arguments.insert(arguments.end(), restore_options_.begin(), restore_options_.end());
  return run_engine(arguments, kill_after_ns);
}

// Only differences with a documented reason (docs/diff.md).
void Scenario::expect_same(const std::string& before, const std::string& after) {
  const size_t printed = read_file(directory_ + "/engine.out").size();
  EngineRun run = run_engine({"diff", before, after});
  if (!run.succeeded())
    throw Failure("dump, restore, dump: `diff` " + outcome(run) + ":\n" +
                  read_file(directory_ + "/engine.out").substr(printed));
}

void Scenario::expect_success(const EngineRun& run) {
  if (!run.succeeded()) throw Failure("`" + run.command + "` " + outcome(run));
}

void Scenario::expect_image_whole_or_absent(const std::string& images) {
  // A dump killed between its commit and the last rename leaves a whole image in .commit (docs/image-format.md).
  bool has_inventory = access((images + "/inventory.img").c_str(), F_OK) == 0 ||
                       access((images + "/.commit/inventory.img").c_str(), F_OK) == 0;
  EngineRun run = run_engine({"verify", images});
  if (has_inventory != run.succeeded())
    throw Failure("the folder " + std::string(has_inventory ? "has an" : "has no") + " inventory, but verify " +
                  outcome(run));
}

int64_t Scenario::moment(int index, int count, int64_t whole) {
  double share = std::uniform_real_distribution<double>(index, index + 1)(random_) / count;
  return static_cast<int64_t>(share * static_cast<double>(whole));
}

}  // namespace cr
