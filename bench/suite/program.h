// A program that is dumped and restored, and the proof that it is still the same one: bench/victims/answer.h.
#pragma once

#include "bench/suite/engine.h"

namespace bench {

class Program {
 public:
  // Starts it under the engine and waits for its first answer, for at most `limit`.
  Program(const Engine& engine, const Place& place, const Words& command, std::chrono::seconds limit);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  double start_milliseconds() const { return start_milliseconds_; }
  Target& target() { return target_; }
  const Streams& streams() const { return streams_; }

  // Asks and returns the value of the answer. Throws when none comes or it is another program's.
  uint64_t ask();
  bool is_alive() const;
  // The moment of a dump after which the program runs on, and back to it before the restore: what it has answered since
  // is forgotten, by the restored program too.
  void note_moment();
  void back_to_moment();
  // Waits until all its processes have ended and tells what CPU time they used; throws when one lives on.
  double collect();

 private:
  uint64_t next_answer();

  Target target_;
  Streams streams_;
  std::chrono::seconds limit_;
  unsigned round_ = 0;
  std::string secret_;
  unsigned moment_round_ = 0;
  uintmax_t moment_size_ = 0;
  double start_milliseconds_ = 0;
};

}  // namespace bench
