// The driver inside a program: device memory lies outside of the process, in files, until a checkpoint brings it in.
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "tests/fake_cuda/devices.h"
#include "tests/fake_cuda/mailbox.h"
#include "tests/gpu/driver_api.h"

namespace fake_cuda {
namespace {

constexpr int kSuccess = 0, kInvalidValue = 1, kOutOfMemory = 2, kNotInitialized = 3, kNoDevice = 100,
              kInvalidDevice = 101, kIllegalState = 401, kNotReady = 600, kNotSupported = 801, kUnknown = 999;

enum State : int { running, locked, checkpointed, failed };

struct Allocation {
  size_t bytes = 0;
  size_t device = 0;  // which of `devices`
  std::string file;   // its content; empty while it is in `staging`
  void* staging = nullptr;
};

struct Process {
  std::mutex gate;
  std::condition_variable changed;
  State state = running;
  int calls = 0;                    // under way
  bool is_managed = false;          // uses what a checkpoint cannot save
  std::vector<DeviceLine> devices;  // as this process sees them
  std::vector<int> handles;         // of the device files, while it is not checkpointed
  std::map<CUdeviceptr, Allocation> memory;
  Mailbox* box = nullptr;
  size_t current = 0;
  uint64_t allocations = 0;
  int pid = 0;
};

Process* self = nullptr;

// A call into CUDA: waits while the process is locked, and is waited for by who locks it.
class Call {
 public:
  Call() {
    std::unique_lock lock(self->gate);
    self->changed.wait(lock, [] { return self->state == running; });
    ++self->calls;
  }
  ~Call() {
    const std::lock_guard lock(self->gate);
    --self->calls;
    self->changed.notify_all();
  }
};

bool open_handles() {
  for (size_t i = 0; i < self->devices.size(); ++i) {
    const int fd = ::open((folder() + "/nvidia" + std::to_string(i)).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return false;
    self->handles.push_back(fd);
  }
  return true;
}

void close_handles() {
  for (const int fd : self->handles) ::close(fd);
  self->handles.clear();
}

size_t used_on(const Uuid& uuid) {
  size_t used = 0;
  for (const auto& [pointer, one] : self->memory)
    if (self->devices[one.device].uuid == uuid) used += one.bytes;
  return used;
}

std::string new_file(CUdeviceptr pointer) {
  return folder() + "/memory-" + std::to_string(self->pid) + "-" + std::to_string(pointer);
}

bool transfer(int fd, char* data, size_t bytes, off_t at, bool writes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = writes ? ::pwrite(fd, data + done, bytes - done, at + static_cast<off_t>(done))
                             : ::pread(fd, data + done, bytes - done, at + static_cast<off_t>(done));
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

bool access_file(const std::string& file, void* data, size_t bytes, size_t at, bool writes) {
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  const bool ok = transfer(fd, static_cast<char*>(data), bytes, static_cast<off_t>(at), writes);
  ::close(fd);
  return ok;
}

int copy(CUdeviceptr pointer, void* data, size_t bytes, bool writes) {
  auto one = self->memory.upper_bound(pointer);
  if (one == self->memory.begin()) return kInvalidValue;
  --one;
  const size_t at = pointer - one->first;
  if (at + bytes > one->second.bytes) return kInvalidValue;
  return access_file(one->second.file, data, bytes, at, writes) ? kSuccess : kUnknown;
}

int do_lock(uint32_t timeout_ms) {
  std::unique_lock lock(self->gate);
  if (self->state != running) return kIllegalState;
  self->state = locked;  // new calls wait from here on
  const auto is_quiet = [] { return self->calls == 0; };
  if (timeout_ms == 0)
    self->changed.wait(lock, is_quiet);
  else if (!self->changed.wait_for(lock, std::chrono::milliseconds(timeout_ms), is_quiet)) {
    self->state = running;
    self->changed.notify_all();
    return kNotReady;
  }
  return kSuccess;
}

int do_checkpoint() {
  if (self->state != locked) return kIllegalState;
  if (self->is_managed) return kNotSupported;
  for (auto& [pointer, one] : self->memory) {
    one.staging = ::mmap(nullptr, one.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (one.staging == MAP_FAILED || !access_file(one.file, one.staging, one.bytes, 0, false)) return kUnknown;
    ::unlink(one.file.c_str());
    one.file.clear();
  }
  close_handles();
  self->state = checkpointed;
  return kSuccess;
}

// The device of each old one: by the pairs, which must name all if any, or itself.
int find_devices(std::vector<DeviceLine>& found) {
  const std::vector<DeviceLine> here = read_devices();
  for (const DeviceLine& old : self->devices) {
    Uuid wanted = old.uuid;
    bool named = self->box->pair_count == 0;
    for (uint32_t i = 0; i < self->box->pair_count; ++i)
      if (std::memcmp(self->box->pairs[i].old_uuid, old.uuid.data(), 16) == 0)
        std::memcpy(wanted.data(), self->box->pairs[i].new_uuid, 16), named = true;
    if (!named) return kInvalidValue;
    const DeviceLine* device = nullptr;
    for (const DeviceLine& one : here)
      if (one.uuid == wanted) device = &one;
    if (!device) return kInvalidDevice;
    if (device->name != old.name) return kInvalidDevice;
    if (used_on(old.uuid) > device->memory_bytes) return kOutOfMemory;
    found.push_back(*device);
  }
  return kSuccess;
}

int do_restore() {
  if (self->state != checkpointed) return kIllegalState;
  std::vector<DeviceLine> devices;
  if (const int result = find_devices(devices); result != kSuccess) return result;
  self->devices = devices;
  for (auto& [pointer, one] : self->memory) {
    one.file = new_file(pointer);
    if (!access_file(one.file, one.staging, one.bytes, 0, true)) return self->state = failed, kUnknown;
    ::munmap(one.staging, one.bytes);
    one.staging = nullptr;
  }
  if (!open_handles()) return self->state = failed, kUnknown;
  self->state = locked;
  return kSuccess;
}

int do_unlock() {
  const std::lock_guard lock(self->gate);
  if (self->state != locked) return kIllegalState;
  self->state = running;
  self->changed.notify_all();
  return kSuccess;
}

int serve(const Mailbox& box) {
  switch (box.request) {
    case Request::state:
      return kSuccess;
    case Request::lock:
      return do_lock(box.timeout_ms);
    case Request::checkpoint:
      return do_checkpoint();
    case Request::restore:
      return do_restore();
    case Request::unlock:
      return do_unlock();
    case Request::none:
      break;
  }
  return kInvalidValue;
}

void* restore_thread(void*) {
  Mailbox& box = *self->box;
  box.restore_thread = static_cast<int32_t>(::syscall(SYS_gettid));
  futex_wake(box.answer);
  for (;;) {
    const uint32_t knock = box.knock.load();
    if (knock == box.answer.load()) {
      futex_wait(box.knock, knock, 0);
      continue;
    }
    box.result = serve(box);
    box.last_state = self->state;
    box.answer = knock;
    futex_wake(box.answer);
  }
  return nullptr;
}

int begin() {
  self = new Process;
  self->pid = ::getpid();
  self->devices = read_devices();
  if (self->devices.empty()) return kNoDevice;
  return kSuccess;
}

// A context is what makes a process one that uses the GPU.
int attach() {
  const std::lock_guard lock(self->gate);
  if (self->box) return kSuccess;
  if (!open_handles()) return kNoDevice;
  self->box = map_mailbox(mailbox_path(self->pid), true);
  pthread_t thread;
  if (!self->box || ::pthread_create(&thread, nullptr, restore_thread, nullptr) != 0) return kUnknown;
  while (*const_cast<volatile int32_t*>(&self->box->restore_thread) == 0) ::usleep(100);
  return kSuccess;
}

}  // namespace

}  // namespace fake_cuda

using namespace fake_cuda;

extern "C" {

CUresult cuInit(unsigned) {
  if (const int result = fault_of("init")) return result;
  return self ? kSuccess : begin();
}
CUresult cuDriverGetVersion(int* version) {
  *version = 13000;
  return kSuccess;
}
CUresult cuDeviceGetCount(int* count) {
  if (!self) return kNotInitialized;
  *count = static_cast<int>(self->devices.size());
  return kSuccess;
}
CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  if (!self) return kNotInitialized;
  if (ordinal < 0 || static_cast<size_t>(ordinal) >= self->devices.size()) return kInvalidDevice;
  *device = ordinal;
  return kSuccess;
}
CUresult cuDeviceGetName(char* name, int bytes, CUdevice device) {
  std::strncpy(name, self->devices[static_cast<size_t>(device)].name.c_str(), static_cast<size_t>(bytes));
  return kSuccess;
}
CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device) {
  std::memcpy(uuid->bytes, self->devices[static_cast<size_t>(device)].uuid.data(), 16);
  return kSuccess;
}
CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  *bytes = self->devices[static_cast<size_t>(device)].memory_bytes;
  return kSuccess;
}
CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice device) {
  const DeviceLine& line = self->devices[static_cast<size_t>(device)];
  *value = attribute == 75 ? line.major : attribute == 76 ? line.minor : 0;
  return kSuccess;
}
CUresult cuCtxCreate_v2(CUcontext* context, unsigned, CUdevice device) {
  if (!self) return kNotInitialized;
  if (const int result = attach()) return result;
  const Call call;
  self->current = static_cast<size_t>(device);
  *context = reinterpret_cast<CUcontext>(static_cast<size_t>(device) + 1);
  return kSuccess;
}
CUresult cuCtxDestroy_v2(CUcontext) {
  return kSuccess;
}
CUresult cuCtxSetCurrent(CUcontext context) {
  const Call call;
  self->current = reinterpret_cast<size_t>(context) - 1;
  return kSuccess;
}
CUresult cuCtxSynchronize() {
  const Call call;
  return fault_of("synchronize");
}
CUresult cuMemGetInfo_v2(size_t* free_bytes, size_t* total_bytes) {
  const Call call;
  const DeviceLine& device = self->devices[self->current];
  *total_bytes = device.memory_bytes, *free_bytes = device.memory_bytes - used_on(device.uuid);
  return kSuccess;
}
// Addresses are reserved, so that they are the same whatever else the process maps, as a real driver does it.
CUresult cuMemAlloc_v2(CUdeviceptr* pointer, size_t bytes) {
  const Call call;
  const DeviceLine& device = self->devices[self->current];
  if (used_on(device.uuid) + bytes > device.memory_bytes) return kOutOfMemory;
  void* place = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) return kOutOfMemory;
  *pointer = reinterpret_cast<CUdeviceptr>(place);
  Allocation one{bytes, self->current, new_file(*pointer)};
  const int fd = ::open(one.file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(bytes)) != 0) return kOutOfMemory;
  ::close(fd);
  self->memory[*pointer] = one;
  return kSuccess;
}
CUresult cuMemAllocManaged(CUdeviceptr* pointer, size_t bytes, unsigned) {
  self->is_managed = true;
  return cuMemAlloc_v2(pointer, bytes);
}
CUresult cuMemFree_v2(CUdeviceptr pointer) {
  const Call call;
  const auto one = self->memory.find(pointer);
  if (one == self->memory.end()) return kInvalidValue;
  ::unlink(one->second.file.c_str());
  ::munmap(reinterpret_cast<void*>(pointer), one->second.bytes);
  self->memory.erase(one);
  return kSuccess;
}
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
  const Call call;
  return copy(to, const_cast<void*>(from), bytes, true);
}
CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
  const Call call;
  return copy(from, to, bytes, false);
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream) {
  return cuMemcpyHtoD_v2(to, from, bytes);
}
CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t count) {
  std::vector<unsigned> data(count, value);
  return cuMemcpyHtoD_v2(to, data.data(), count * sizeof value);
}
CUresult cuMemHostAlloc(void** pointer, size_t bytes, unsigned) {
  *pointer = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return *pointer == MAP_FAILED ? kOutOfMemory : kSuccess;
}
CUresult cuMemFreeHost(void*) {
  return kSuccess;
}
CUresult cuStreamCreate(CUstream* stream, unsigned) {
  *stream = reinterpret_cast<CUstream>(1);
  return kSuccess;
}
CUresult cuStreamSynchronize(CUstream) {
  const Call call;
  return kSuccess;
}
CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  if (std::strstr(static_cast<const char*>(image), ".entry add_one") == nullptr) return kInvalidValue;
  *module = reinterpret_cast<CUmodule>(1);
  return kSuccess;
}
CUresult cuModuleGetFunction(CUfunction* function, CUmodule, const char* name) {
  if (std::strcmp(name, "add_one") != 0) return kInvalidValue;
  *function = reinterpret_cast<CUfunction>(1);
  return kSuccess;
}
// The one kernel that it knows: add_one(unsigned* data, unsigned count).
CUresult cuLaunchKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream,
                        void** arguments, void**) {
  const Call call;
  const auto pointer = *static_cast<CUdeviceptr*>(arguments[0]);
  std::vector<unsigned> data(*static_cast<unsigned*>(arguments[1]));
  if (const int result = copy(pointer, data.data(), data.size() * sizeof(unsigned), false)) return result;
  for (unsigned& one : data) ++one;
  return copy(pointer, data.data(), data.size() * sizeof(unsigned), true);
}
CUresult cuGetErrorName(CUresult error, const char** name) {
  static const std::map<int, const char*> kNames = {{0, "CUDA_SUCCESS"},
                                                    {1, "CUDA_ERROR_INVALID_VALUE"},
                                                    {2, "CUDA_ERROR_OUT_OF_MEMORY"},
                                                    {3, "CUDA_ERROR_NOT_INITIALIZED"},
                                                    {100, "CUDA_ERROR_NO_DEVICE"},
                                                    {101, "CUDA_ERROR_INVALID_DEVICE"},
                                                    {401, "CUDA_ERROR_ILLEGAL_STATE"},
                                                    {600, "CUDA_ERROR_NOT_READY"},
                                                    {801, "CUDA_ERROR_NOT_SUPPORTED"},
                                                    {999, "CUDA_ERROR_UNKNOWN"}};
  const auto found = kNames.find(error);
  *name = found == kNames.end() ? nullptr : found->second;
  return found == kNames.end() ? kInvalidValue : kSuccess;
}
CUresult cuGetErrorString(CUresult error, const char** text) {
  *text = error == kSuccess ? "no error" : "as the stand-in was told";
  return kSuccess;
}
}
