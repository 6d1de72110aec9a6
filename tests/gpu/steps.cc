// Counts on every GPU: each step adds one to all numbers of its buffers, and every number is compared with what it must
// be. steps DEVICES PROCESSES MIB END_FILE: prints "step N" after each step of the first process, and "RIGHT N" when
// the file is there; ends with 1 as soon as a number is wrong.
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "tests/gpu/driver_api.h"

namespace {

constexpr char kKernel[] = R"(
.version 6.4
.target sm_52
.address_size 64
.visible .entry add_one(.param .u64 data, .param .u32 count)
{
  .reg .pred %p;
  .reg .b32 %r<8>;
  .reg .b64 %rd<5>;
  ld.param.u64 %rd1, [data];
  ld.param.u32 %r1, [count];
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %ntid.x;
  mov.u32 %r4, %tid.x;
  mad.lo.s32 %r5, %r2, %r3, %r4;
  setp.ge.u32 %p, %r5, %r1;
  @%p bra done;
  cvta.to.global.u64 %rd2, %rd1;
  mul.wide.u32 %rd3, %r5, 4;
  add.s64 %rd4, %rd2, %rd3;
  ld.global.u32 %r6, [%rd4];
  add.s32 %r7, %r6, 1;
  st.global.u32 [%rd4], %r7;
done:
  ret;
}
)";

void check(CUresult result, const char* call) {
  if (result == 0) return;
  const char* name = nullptr;
  cuGetErrorName(result, &name);
  printf("FAILED %s: %s (%d)\n", call, name ? name : "?", result);
  exit(1);
}
#define CHECK(call) check(call, #call)

unsigned first_of(unsigned process, unsigned device, unsigned i) {
  return (process * 31 + device * 17 + 1) * 2654435761U + i * 40503U;
}

struct OnDevice {
  CUcontext context = nullptr;
  CUfunction kernel = nullptr;
  CUdeviceptr data = 0;
  unsigned device = 0;
  std::vector<unsigned> seen;
};

void begin(OnDevice& one, unsigned process, unsigned count) {
  CUdevice device = 0;
  CHECK(cuDeviceGet(&device, static_cast<int>(one.device)));
  CHECK(cuCtxCreate_v2(&one.context, 0, device));
  CUmodule module = nullptr;
  CHECK(cuModuleLoadData(&module, kKernel));
  CHECK(cuModuleGetFunction(&one.kernel, module, "add_one"));
  CHECK(cuMemAlloc_v2(&one.data, count * sizeof(unsigned)));
  one.seen.resize(count);
  for (unsigned i = 0; i < count; ++i) one.seen[i] = first_of(process, one.device, i);
  CHECK(cuMemcpyHtoD_v2(one.data, one.seen.data(), count * sizeof(unsigned)));
}

void step(OnDevice& one, unsigned process, unsigned number) {
  CHECK(cuCtxSetCurrent(one.context));
  auto count = static_cast<unsigned>(one.seen.size());
  void* arguments[] = {&one.data, &count};
  CHECK(cuLaunchKernel(one.kernel, (count + 255) / 256, 1, 1, 256, 1, 1, 0, nullptr, arguments, nullptr));
  CHECK(cuCtxSynchronize());
  CHECK(cuMemcpyDtoH_v2(one.seen.data(), one.data, count * sizeof(unsigned)));
  for (unsigned i = 0; i < count; ++i)
    if (one.seen[i] != first_of(process, one.device, i) + number) {
      printf("WRONG process %u device %u number %u: %u at step %u\n", process, one.device, i, one.seen[i], number);
      exit(1);
    }
}

int run(unsigned process, unsigned devices, unsigned count, const char* end_file) {
  CHECK(cuInit(0));
  std::vector<OnDevice> all(devices);
  for (unsigned i = 0; i < devices; ++i) {
    all[i].device = i;
    begin(all[i], process, count);
  }
  unsigned number = 0;
  while (access(end_file, F_OK) != 0) {
    ++number;
    for (OnDevice& one : all) step(one, process, number);
    if (process == 0) printf("step %u\n", number);
    usleep(2000);
  }
  if (process == 0) printf("RIGHT %u\n", number);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  setvbuf(stdout, nullptr, _IOLBF, 0);
  const auto devices = static_cast<unsigned>(atoi(argv[1])), processes = static_cast<unsigned>(atoi(argv[2]));
  const auto count = static_cast<unsigned>(atoi(argv[3])) * 262144U;
  for (unsigned i = 1; i < processes; ++i)
    if (fork() == 0) return run(i, devices, count, argv[4]);
  int result = run(0, devices, count, argv[4]);
  for (unsigned i = 1; i < processes; ++i) {
    int status = 0;
    wait(&status);
    if (status != 0) result = 1;
  }
  return result;
}
