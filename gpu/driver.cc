#include "gpu/driver.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstring>

#include "core/base/error.h"
#include "core/base/log.h"

namespace mcr::gpu {

using abi::Result;

struct Symbols {
  Result (*init)(unsigned flags);
  Result (*driver_version)(int* version);
  Result (*device_count)(int* count);
  Result (*device)(int* device, int ordinal);
  Result (*device_name)(char* name, int bytes, int device);
  Result (*device_uuid)(abi::Uuid* uuid, int device);
  Result (*device_memory)(size_t* bytes, int device);
  Result (*device_attribute)(int* value, int attribute, int device);
  Result (*error_name)(Result error, const char** name);
  Result (*error_text)(Result error, const char** text);
  Result (*process_state)(int pid, int* state);
  Result (*restore_thread)(int pid, int* tid);
  Result (*lock)(int pid, abi::LockArguments* arguments);
  Result (*checkpoint)(int pid, void* arguments);
  Result (*restore)(int pid, abi::RestoreArguments* arguments);
  Result (*unlock)(int pid, void* arguments);
};

namespace {

constexpr char kLibrary[] = "libcuda.so.1";

// Looks symbols up; remembers the first that is missing.
class Loader {
 public:
  explicit Loader(void* library) : library_(library) {}
  template <typename Function>
  void get(Function& function, const char* name) {
    function = reinterpret_cast<Function>(::dlsym(library_, name));
    if (!function && missing_.empty()) missing_ = name;
  }
  const std::string& missing() const { return missing_; }

 private:
  void* library_;
  std::string missing_;
};

std::string load(void* library, Symbols& symbols) {
  Loader loader(library);
  loader.get(symbols.init, "cuInit");
  loader.get(symbols.driver_version, "cuDriverGetVersion");
  loader.get(symbols.device_count, "cuDeviceGetCount");
  loader.get(symbols.device, "cuDeviceGet");
  loader.get(symbols.device_name, "cuDeviceGetName");
  loader.get(symbols.device_uuid, "cuDeviceGetUuid");
  loader.get(symbols.device_memory, "cuDeviceTotalMem_v2");
  loader.get(symbols.device_attribute, "cuDeviceGetAttribute");
  loader.get(symbols.error_name, "cuGetErrorName");
  loader.get(symbols.error_text, "cuGetErrorString");
  loader.get(symbols.process_state, "cuCheckpointProcessGetState");
  loader.get(symbols.restore_thread, "cuCheckpointProcessGetRestoreThreadId");
  loader.get(symbols.lock, "cuCheckpointProcessLock");
  loader.get(symbols.checkpoint, "cuCheckpointProcessCheckpoint");
  loader.get(symbols.restore, "cuCheckpointProcessRestore");
  loader.get(symbols.unlock, "cuCheckpointProcessUnlock");
  return loader.missing();
}

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

std::string error_text(const Symbols& symbols, Result result) {
  const char* name = nullptr;
  const char* text = nullptr;
  if (symbols.error_name(result, &name) != abi::kSuccess || !name) name = "an unknown error";
  if (symbols.error_text(result, &text) != abi::kSuccess || !text) text = "";
  return fmt::format("{} ({}){}{}", name, result, *text ? ": " : "", text);
}

}  // namespace

std::string_view state_name(State state) {
  switch (state) {
    case State::running:
      return "running";
    case State::locked:
      return "locked";
    case State::checkpointed:
      return "suspended";
    case State::failed:
      return "failed";
  }
  return "unknown";
}

// Never unloaded: the driver's own threads may run in it.
std::unique_ptr<Driver> Driver::open(std::string& why) {
  void* library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* text = ::dlerror();
    why = fmt::format("{} cannot be loaded ({})", kLibrary, text ? text : "no reason given");
    return nullptr;
  }
  auto symbols = std::make_unique<Symbols>();
  const std::string missing = load(library, *symbols);
  int version = 0;
  if (symbols->driver_version) symbols->driver_version(&version);
  if (!missing.empty()) {
    why = fmt::format("the driver of this host (CUDA {}) has no {}: checkpoints need driver 570 or newer",
                      version_text(version), missing);
    return nullptr;
  }
  if (const Result result = symbols->init(0); result != abi::kSuccess) {
    why = fmt::format("the CUDA driver does not start here: {}", error_text(*symbols, result));
    return nullptr;
  }
  std::unique_ptr<Driver> driver(new Driver(library, std::move(symbols)));
  driver->version_ = version;
  return driver;
}

Driver::Driver(void* library, std::unique_ptr<Symbols> symbols) : library_(library), symbols_(std::move(symbols)) {}
Driver::~Driver() = default;

void Driver::check(Result result, std::string_view call) const {
  if (result == abi::kSuccess) return;
  std::string remedy;
  if (result == abi::kNotSupported)
    remedy = "the driver cannot checkpoint what this program uses (managed memory, MPS, MIG, IPC memory)";
  throw Error(Fault::system, fmt::format("{}: {}", call, error_text(*symbols_, result)), remedy, 0);
}

std::vector<Gpu> Driver::gpus() const {
  int count = 0;
  const Result result = symbols_->device_count(&count);
  if (result == abi::kNoDevice) return {};
  check(result, "cuDeviceGetCount");
  std::vector<Gpu> gpus;
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    int device = 0;
    check(symbols_->device(&device, ordinal), "cuDeviceGet");
    Gpu& gpu = gpus.emplace_back();
    char name[256] = "";
    check(symbols_->device_name(name, sizeof name - 1, device), "cuDeviceGetName");
    gpu.name = name;
    abi::Uuid uuid{};
    check(symbols_->device_uuid(&uuid, device), "cuDeviceGetUuid");
    std::memcpy(gpu.uuid.bytes.data(), uuid.bytes, sizeof uuid.bytes);
    size_t bytes = 0;
    check(symbols_->device_memory(&bytes, device), "cuDeviceTotalMem");
    gpu.memory_bytes = bytes;
    check(symbols_->device_attribute(&gpu.major, abi::kComputeMajor, device), "cuDeviceGetAttribute");
    check(symbols_->device_attribute(&gpu.minor, abi::kComputeMinor, device), "cuDeviceGetAttribute");
  }
  return gpus;
}

std::optional<State> Driver::state(HostPid pid) const {
  int state = 0;
  const Result result = symbols_->process_state(pid.get(), &state);
  if (result == abi::kInvalidValue || result == abi::kNotInitialized) return std::nullopt;
  check(result, "cuCheckpointProcessGetState");
  if (state < abi::kRunning || state > abi::kFailed)
    throw Error(Fault::system, fmt::format("cuCheckpointProcessGetState tells of an unknown state {}", state));
  return static_cast<State>(state);
}

HostTid Driver::restore_thread(HostPid pid) const {
  int tid = 0;
  check(symbols_->restore_thread(pid.get(), &tid), "cuCheckpointProcessGetRestoreThreadId");
  return HostTid(tid);
}

bool Driver::lock(HostPid pid, std::chrono::milliseconds timeout) const {
  abi::LockArguments arguments{};
  arguments.timeout_ms = static_cast<uint32_t>(timeout.count());
  const Result result = symbols_->lock(pid.get(), &arguments);
  if (result == abi::kNotReady) return false;
  check(result, "cuCheckpointProcessLock");
  return true;
}

void Driver::checkpoint(HostPid pid) const {
  char arguments[64] = {};
  check(symbols_->checkpoint(pid.get(), arguments), "cuCheckpointProcessCheckpoint");
}

void Driver::restore(HostPid pid, const GpuMap& map) const {
  std::vector<abi::GpuPair> pairs(map.size());
  size_t at = 0;
  for (const auto& [old_uuid, new_uuid] : map) {
    std::memcpy(pairs[at].old_uuid.bytes, old_uuid.bytes.data(), old_uuid.bytes.size());
    std::memcpy(pairs[at++].new_uuid.bytes, new_uuid.bytes.data(), new_uuid.bytes.size());
  }
  abi::RestoreArguments arguments{};
  arguments.pairs = pairs.empty() ? nullptr : pairs.data();
  arguments.count = static_cast<uint32_t>(pairs.size());
  check(symbols_->restore(pid.get(), &arguments), "cuCheckpointProcessRestore");
}

void Driver::unlock(HostPid pid) const {
  char arguments[64] = {};
  check(symbols_->unlock(pid.get(), arguments), "cuCheckpointProcessUnlock");
}

}  // namespace mcr::gpu
