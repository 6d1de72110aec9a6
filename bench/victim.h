// A program of ours that is dumped and restored, and the proof that it is still the same one.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace bench {

using Clock = std::chrono::steady_clock;

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Victim {
 public:
  // Starts it in a session of its own and waits for its first answer.
  Victim(const std::string& program, const std::vector<std::string>& arguments, const std::string& directory);
  ~Victim();
  Victim(const Victim&) = delete;
  Victim& operator=(const Victim&) = delete;

  pid_t pid() const { return pid_; }
  // Asks and returns the value of the answer. Throws when none comes or it is another program's.
  uint64_t ask();
  // Collects the process that a dump has killed. Throws when it ended otherwise or lives on.
  void expect_killed();
  bool is_alive() const;

 private:
  uint64_t next_answer();

  std::string output_;
  pid_t pid_ = -1;
  unsigned round_ = 0;
  std::string secret_;
};

struct Outcome {
  double milliseconds = 0;
  double cpu_milliseconds = 0;  // of the command, and of what it waited for
  std::string output;           // of both streams
};

// Runs a command to its end and throws unless it ends well within two minutes.
Outcome run_command(const std::vector<std::string>& command, const std::string& directory);

}  // namespace bench
