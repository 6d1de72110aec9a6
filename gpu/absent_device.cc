#include "gpu/device.h"

namespace mcr::gpu {
namespace {

class AbsentDevice : public Device {
 public:
  std::string name() const override { return "none"; }
  bool is_used_by(HostPid) const override { return false; }
};

}  // namespace

std::unique_ptr<Device> make_absent_device() {
  return std::make_unique<AbsentDevice>();
}

}  // namespace mcr::gpu
