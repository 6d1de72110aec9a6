// GPU devices by their names: what the driver gives up at a checkpoint, and nobody else can keep.
#pragma once

#include <string_view>

#include "core/kinds/kind.h"

namespace mcr::kinds {

// "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-caps/nvidia-cap1".
inline bool is_gpu_name(std::string_view link) {
  return link.substr(link.rfind('/') + 1).starts_with("nvidia");
}

inline bool is_gpu_device(const FileView& file) {
  return S_ISCHR(file.status.st_mode) && is_gpu_name(file.link);
}

}  // namespace mcr::kinds
