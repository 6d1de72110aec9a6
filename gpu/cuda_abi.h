// What is used of the CUDA driver's interface, restated, so that no header of NVIDIA's is needed to build. Where
// <cuda.h> is installed, abi_check.cc compares it with this. Source: CUDA Driver API, "Checkpointing" (12.8; pairs of
// GPUs: 13.0).
#pragma once

#include <cstddef>
#include <cstdint>

namespace mcr::gpu::abi {

using Result = int;  // CUresult
enum : Result {
  kSuccess = 0,
  kInvalidValue = 1,
  kNotInitialized = 3,
  kNoDevice = 100,
  kIllegalState = 401,
  kNotReady = 600,
  kNotSupported = 801,
};

enum ProcessState : int { kRunning = 0, kLocked = 1, kCheckpointed = 2, kFailed = 3 };

struct Uuid {
  unsigned char bytes[16];
};
struct LockArguments {
  uint32_t timeout_ms;  // 0: none
  uint32_t reserved0;
  uint64_t reserved1[7];
};
struct GpuPair {
  Uuid old_uuid, new_uuid;
};
struct RestoreArguments {
  const GpuPair* pairs;
  uint32_t count;
  char reserved[44];
  uint64_t reserved1;
};
static_assert(sizeof(LockArguments) == 64 && sizeof(RestoreArguments) == 64 && sizeof(GpuPair) == 32);
static_assert(offsetof(RestoreArguments, count) == 8);

enum Attribute : int { kComputeMajor = 75, kComputeMinor = 76 };  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*

}  // namespace mcr::gpu::abi
