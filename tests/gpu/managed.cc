// Uses managed memory, which a driver cannot checkpoint: managed END_FILE.
#include <stdio.h>
#include <unistd.h>

#include "tests/gpu/driver_api.h"

int main(int, char** argv) {
  CUdevice device = 0;
  CUcontext context = nullptr;
  CUdeviceptr data = 0;
  if (cuInit(0) || cuDeviceGet(&device, 0) || cuCtxCreate_v2(&context, 0, device) ||
      cuMemAllocManaged(&data, 1 << 20, 1))
    return 1;
  setvbuf(stdout, nullptr, _IOLBF, 0);
  for (unsigned i = 1; access(argv[1], F_OK) != 0; ++i) {
    if (cuCtxSynchronize()) return 1;
    printf("step %u\n", i);
    usleep(2000);
  }
  return 0;
}
