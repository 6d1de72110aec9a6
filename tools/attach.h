// Somebody at a terminal who sits at a job's: keys go there, what it prints comes here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/jobs/job_folder.h"

namespace mcr::cli {

// "ctrl-p,ctrl-q" or "a": the bytes that mean to leave. Throws Error(usage).
std::string parse_keys(const std::string& option, const std::string& text);

// Of the bytes that are typed: those that go on to the program, and whether the keys to leave are among them. Pure.
class KeyWatch {
 public:
  explicit KeyWatch(std::string keys) : keys_(std::move(keys)) {}
  std::string pass(const std::string& typed);  // what may be the beginning of the keys is held back
  bool has_left() const { return left_; }

 private:
  const std::string keys_;
  size_t matched_ = 0;
  bool left_ = false;
};

enum class AttachEnd { left, job_ended };
struct Seat {
  std::string keys;  // that leave
  int signals = -1;  // of take_signals(), which are passed on to the program; -1: none, and they act as ever
  std::optional<uint64_t> from;  // of output.log, what is printed first: what the program has printed by now
};
AttachEnd attach(const jobs::JobFolder& job, const Seat& seat);

}  // namespace mcr::cli
