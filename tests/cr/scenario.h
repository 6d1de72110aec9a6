// One workload, the engine, and what a mode does with the two.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/cr/process_state.h"

namespace cr {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct Skipped : std::runtime_error {
  using std::runtime_error::runtime_error;
};

int64_t now_ns();  // CLOCK_MONOTONIC
void sleep_ns(int64_t ns);
bool wait_until(int64_t limit_ns, const std::function<bool()>& condition);  // polls every millisecond

// Children of this process, which is a subreaper: a program that was restored is one of them.
std::vector<pid_t> children();
void end_all_children();             // SIGKILL, and reaps
std::optional<int> reap(pid_t pid);  // its wait status once it has ended

struct EngineRun {
  int status = 0;  // of wait(2)
  bool killed_by_us = false, too_slow = false;
  int64_t started_ns = 0, ended_ns = 0;
  std::string command;
  int64_t took() const { return ended_ns - started_ns; }
  bool succeeded() const { return !too_slow && status == 0; }
};

class Scenario {
 public:
  Scenario(std::string program, std::string engine, uint64_t seed);
  ~Scenario();
  Scenario(const Scenario&) = delete;
  Scenario& operator=(const Scenario&) = delete;

  void run(const std::string& mode);
  std::string diagnosis() const;  // logs of the engine and output of the program, for a failure

 private:
  void start();  // to READY, and settled
  void settle();
  void finish();    // SIGTERM, then PASS is expected
  void remember();  // the state before
  void expect_unharmed(const std::string& after_what);
  void expect_no_helpers(const std::string& after_what);
  void expect_gone();  // the program was killed; reaps it
  bool is_all_gone();  // no process of the tree is there, not even as a zombie
  void kill_all();
  void expect_no_new_files() const;
  void remove_segments() const;
  void rewind_files() const;  // to the size that they had at the dump

  EngineRun run_engine(std::vector<std::string> arguments, int64_t kill_after_ns = -1);
  EngineRun dump(const std::string& images, bool leave_running, bool sync, int64_t kill_after_ns = -1);
  EngineRun restore(const std::string& images, int64_t kill_after_ns = -1, bool leave_stopped = false);
  void expect_success(const EngineRun& run);
  void expect_image_whole_or_absent(const std::string& images);
  void note_gone(const EngineRun& dumped, const EngineRun& back);
  void dump_kill_restore(const std::string& images, bool sync);
  int64_t moment(int index, int count, int64_t whole);  // random, in the index-th of `count` equal parts of 0..whole

  void native();
  void go_on();
  void live();
  void lazy();
  void restored(int rounds);
  void stopped();
  void compared();
  void expect_same(const std::string& before, const std::string& after);
  void killed_dump();
  void killed_restore();
  void kill_engine_of_ending_dump(int index, int64_t whole);

  std::string program_, engine_, name_, directory_, prefix_;
  std::mt19937_64 random_;
  pid_t pid_ = 0;
  bool is_stopped_ = false;
  int64_t settle_ns_ = 0;
  std::set<std::string> loose_;
  std::vector<std::pair<std::string, off_t>> rewind_;
  struct IpcObject {  // System V semaphores or a queue; removed at the end, and `is_removed` before a restore
    int id;
    bool is_semaphores, is_removed;
    void remove() const;
  };
  std::vector<IpcObject> ipc_;
  std::vector<int> segments_, segments_to_remove_;  // System V; removed at the end, and before a restore
  ProcessState before_;
  std::vector<std::string> dump_options_;  // more of them, for this program
  std::vector<std::string> restore_options_;
  std::vector<std::string> left_behind_;   // beginnings of names that a dump may leave with the program's files
  std::vector<pid_t> tree_;                // its processes
  std::vector<std::string> files_before_;  // in the program's folder, at READY
  std::string gone_;                       // lines of PREFIX.pauses
  std::vector<std::string> commands_;
};

}  // namespace cr
