// Holds memory on the first GPU: hold MIB END_FILE. Prints "READY", and when the file is there copies all of it back,
// compares every word and prints "RIGHT", and the time that the copy of one GiB takes each way, in milliseconds.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <vector>

#include "tests/gpu/driver_api.h"

namespace {

constexpr size_t kChunk = 64 << 20;

void check(CUresult result, const char* call) {
  if (result == 0) return;
  printf("FAILED %s: %d\n", call, result);
  exit(1);
}
#define CHECK(call) check(call, #call)

double now_ms() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

unsigned word(size_t chunk, size_t i) {
  return static_cast<unsigned>((chunk * 977 + i) * 2654435761U);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  setvbuf(stdout, nullptr, _IOLBF, 0);
  const size_t chunks = (static_cast<size_t>(atol(argv[1])) << 20) / kChunk, words = kChunk / sizeof(unsigned);
  CHECK(cuInit(0));
  CUdevice device = 0;
  CUcontext context = nullptr;
  CHECK(cuDeviceGet(&device, 0));
  CHECK(cuCtxCreate_v2(&context, 0, device));
  void* host = nullptr;
  CHECK(cuMemHostAlloc(&host, kChunk, 0));
  auto* data = static_cast<unsigned*>(host);
  std::vector<CUdeviceptr> memory(chunks);
  double in_ms = 0, out_ms = 0;
  for (size_t c = 0; c < chunks; ++c) {
    CHECK(cuMemAlloc_v2(&memory[c], kChunk));
    for (size_t i = 0; i < words; ++i) data[i] = word(c, i);
    const double start = now_ms();
    CHECK(cuMemcpyHtoD_v2(memory[c], data, kChunk));
    in_ms += now_ms() - start;
  }
  printf("READY\n");
  while (access(argv[2], F_OK) != 0) usleep(1000);
  for (size_t c = 0; c < chunks; ++c) {
    const double start = now_ms();
    CHECK(cuMemcpyDtoH_v2(data, memory[c], kChunk));
    out_ms += now_ms() - start;
    for (size_t i = 0; i < words; ++i)
      if (data[i] != word(c, i)) return printf("WRONG chunk %zu word %zu\n", c, i), 1;
  }
  const double gib = static_cast<double>(chunks) / 16;
  printf("RIGHT %.3f %.3f\n", in_ms / gib, out_ms / gib);
  return 0;
}
