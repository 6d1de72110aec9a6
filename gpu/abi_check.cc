// Nothing but comparisons, made where NVIDIA's own header is to be had.
#include "gpu/cuda_abi.h"

#if __has_include(<cuda.h>)
#include <cuda.h>

namespace mcr::gpu::abi {

static_assert(kComputeMajor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(kComputeMinor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
static_assert(kInvalidValue == CUDA_ERROR_INVALID_VALUE && kNotInitialized == CUDA_ERROR_NOT_INITIALIZED);
static_assert(kNoDevice == CUDA_ERROR_NO_DEVICE && kIllegalState == CUDA_ERROR_ILLEGAL_STATE);
static_assert(kNotReady == CUDA_ERROR_NOT_READY && kNotSupported == CUDA_ERROR_NOT_SUPPORTED);
static_assert(sizeof(Uuid) == sizeof(CUuuid));
#if CUDA_VERSION >= 12080
static_assert(sizeof(LockArguments) == sizeof(CUcheckpointLockArgs));
static_assert(sizeof(RestoreArguments) == sizeof(CUcheckpointRestoreArgs));
static_assert(offsetof(LockArguments, timeout_ms) == offsetof(CUcheckpointLockArgs, timeoutMs));
static_assert(static_cast<int>(kRunning) == CU_PROCESS_STATE_RUNNING);
static_assert(static_cast<int>(kLocked) == CU_PROCESS_STATE_LOCKED);
static_assert(static_cast<int>(kCheckpointed) == CU_PROCESS_STATE_CHECKPOINTED);
static_assert(static_cast<int>(kFailed) == CU_PROCESS_STATE_FAILED);
#endif
#if CUDA_VERSION >= 13000
static_assert(sizeof(GpuPair) == sizeof(CUcheckpointGpuPair));
static_assert(offsetof(RestoreArguments, pairs) == offsetof(CUcheckpointRestoreArgs, gpuPairs));
static_assert(offsetof(RestoreArguments, count) == offsetof(CUcheckpointRestoreArgs, gpuPairsCount));
#endif

}  // namespace mcr::gpu::abi
#endif
