// Processes that the suite starts: engines, which it waits for, and programs, which run on. And what they have used.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace bench {

using Clock = std::chrono::steady_clock;
using Words = std::vector<std::string>;

// What went wrong in a round. wrong_result: the program was harmed, which no second try makes good.
struct Failure : std::runtime_error {
  explicit Failure(const std::string& what, bool wrong = false) : std::runtime_error(what), wrong_result(wrong) {}
  bool wrong_result;
};

struct Streams {
  std::string input = "/dev/null";  // opened for reading and writing, so that a FIFO does not wait
  std::string output;               // of both streams, appended to
};

// Starts a command. new_session: as its leader. `environment`: added to our own.
pid_t start(const Words& command, const Streams& streams, bool new_session,
            const std::map<std::string, std::string>& environment = {});

struct Outcome {
  double milliseconds = 0;  // from the start of the process to its end
  double cpu_seconds = 0;   // user and system, with all that it waited for
  int64_t peak_bytes = 0;   // largest resident set of the process, or of one that it waited for
  int status = 0;           // as of wait(2)
  std::string output;
};

// Runs a command to its end. Throws Failure when it takes longer than `limit`; it is killed then.
Outcome run_to_end(const Words& command, const std::string& output, std::chrono::seconds limit);
// The same, and throws Failure with what it printed unless it ended with status 0.
Outcome run_well(const Words& command, const std::string& output, std::chrono::seconds limit);

// The first line that a command prints, or "" when it cannot be run.
std::string first_line_of(const Words& command);
// The file of that name in PATH, or "".
std::string find_program(const std::string& name);

std::string read_text(const std::string& path);  // "" when it cannot be read
double milliseconds_since(Clock::time_point start);

// A process and all its descendants, parents first.
std::vector<pid_t> tree_of(pid_t root);
// User and system time that these have used so far, as far as they still exist.
double cpu_seconds_of(const std::vector<pid_t>& pids);
// Ends a descendant of ours with all of its own, and collects them.
void end_tree(pid_t root);
// The same for all descendants that we have: engines and programs, but nothing of anybody else.
void end_tree_below_us();
// Collects children that have ended, and tells what they used.
double collect_ended();

}  // namespace bench
