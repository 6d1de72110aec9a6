// The CUDA driver, asked in our own process: libcuda.so.1 by dlopen(3), only the symbols that are used. No helper
// program: starting one and its cuInit cost seconds a call.
//
// Any thread, also several at once, after open(). Throws Error(system) with what the driver says.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/ids.h"
#include "gpu/cuda_abi.h"
#include "gpu/device.h"

namespace mcr::gpu {

enum class State { running, locked, checkpointed, failed };
std::string_view state_name(State state);

struct Symbols;

class Driver {
 public:
  // Loads the library and calls cuInit, which takes from milliseconds to seconds. nullptr: not to be had, and `why`.
  static std::unique_ptr<Driver> open(std::string& why);
  ~Driver();
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  int version() const { return version_; }        // 1000 * major + 10 * minor
  std::vector<Gpu> gpus() const;                  // that CUDA_VISIBLE_DEVICES lets us see
  std::optional<State> state(HostPid pid) const;  // nullopt: it does not use CUDA, or is gone
  // That must be able to run while the process is checkpointed and restored.
  HostTid restore_thread(HostPid pid) const;
  // From here on its calls into CUDA block; what is under way comes to its end first. false: not within the time, and
  // the process runs as before.
  bool lock(HostPid pid, std::chrono::milliseconds timeout) const;  // 0: for ever
  void checkpoint(HostPid pid) const;  // of a locked one: device memory goes to memory of the process
  // Back to locked. `map`: all GPUs of the process, or empty: all stay what they are.
  void restore(HostPid pid, const GpuMap& map) const;
  void unlock(HostPid pid) const;

 private:
  Driver(void* library, std::unique_ptr<Symbols> symbols);
  void check(abi::Result result, std::string_view call) const;

  void* library_;
  std::unique_ptr<Symbols> symbols_;
  int version_ = 0;
};

}  // namespace mcr::gpu
