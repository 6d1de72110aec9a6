// What the engine asks of a GPU, so that a machine without one needs no special case.
#pragma once

#include <memory>
#include <string>

#include "core/base/ids.h"

namespace mcr::gpu {

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;            // "none", "cuda"
  virtual bool is_used_by(HostPid pid) const = 0;  // reads /proc only
};

// The implementation for a machine, or a build, without a supported GPU.
std::unique_ptr<Device> make_absent_device();

}  // namespace mcr::gpu
