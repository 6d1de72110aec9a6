// Processes whose GPU work has been brought to a halt and, if all went well, into their own memory. Destroyed, it
// brings all of them back, the last first. One thread; the driver is called by several.
#pragma once

#include <chrono>
#include <functional>
#include <vector>

#include "core/base/damage.h"
#include "core/sys/process.h"
#include "gpu/driver.h"

namespace mcr::gpu {

class Suspension {
 public:
  Suspension(const Driver& driver, Damage& damage) : driver_(driver), damage_(damage) {}
  ~Suspension();
  Suspension(const Suspension&) = delete;
  Suspension& operator=(const Suspension&) = delete;

  // All of them run, none is stopped. Each is locked, and only when all are, is any checkpointed. Throws; those that
  // were touched are brought back by the destructor.
  void lock(const std::vector<HostPid>& pids, const sys::Deadline& deadline);
  void checkpoint();  // all that were locked, at once
  // Restores and unlocks, with errors. What fails stays for the destructor to try once more.
  void resume();
  void abandon() { held_.clear(); }  // they have ended, or are to stay as they are

  const std::vector<HostPid>& processes() const { return pids_; }

 private:
  void bring_back(HostPid pid) const;

  const Driver& driver_;
  Damage& damage_;
  std::vector<HostPid> pids_;  // as asked for
  std::vector<HostPid> held_;  // in the order of locking
};

// Calls `act` for each, in as many threads as there are processes, eight at most; throws the first error.
void each_at_once(const std::vector<HostPid>& pids, const std::function<void(HostPid)>& act);

}  // namespace mcr::gpu
