// A GPU as the driver tells of it, and which GPU of this host stands in for which one of an image.
#pragma once

#include <array>
#include <compare>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.h"

namespace mcr::gpu {

struct Uuid {
  std::array<unsigned char, 16> bytes{};
  auto operator<=>(const Uuid&) const = default;
};
std::string to_text(const Uuid& uuid);                  // "GPU-8a6f1c3e-…", as nvidia-smi has it
std::optional<Uuid> parse_uuid(std::string_view text);  // with "GPU-" or without

struct Gpu {
  Uuid uuid;
  std::string name;
  uint64_t memory_bytes = 0;
  int major = 0, minor = 0;  // compute capability
};
std::string describe(const Gpu& gpu);  // "GPU-… (NVIDIA H100, 80 GiB, compute capability 9.0)"

using GpuMap = std::map<Uuid, Uuid>;  // of the image: of this host

// What each GPU of an image becomes here. `wanted`: what the user has said of some of them. A GPU that is here under
// its own number stays what it is; the others go to free ones of the same name and compute capability with at least as
// much memory, if there is exactly one way that differs to a program, or else are problems. Empty: all stay what they
// are.
GpuMap match_gpus(const std::vector<Gpu>& saved, const std::vector<Gpu>& present, const GpuMap& wanted,
                  std::vector<Problem>& problems);

}  // namespace mcr::gpu
