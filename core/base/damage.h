// Counts undo actions that failed: after one, the target is perhaps harmed and the exit code is 3.
// Owned by the command; owners of remote state hold a reference. One thread.
#pragma once

#include <string>
#include <vector>

namespace mcr {

class Damage {
 public:
  void record(std::string what) { events_.push_back(std::move(what)); }
  bool any() const { return !events_.empty(); }
  const std::vector<std::string>& events() const { return events_; }

 private:
  std::vector<std::string> events_;
};

}  // namespace mcr
