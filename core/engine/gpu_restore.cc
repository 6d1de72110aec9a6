#include "core/engine/gpu_restore.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "core/base/error.h"
#include "core/base/log.h"
#include "gpu/suspension.h"

namespace mcr::engine {
namespace {

using sys::Clock;

constexpr char kFile[] = "gpu.img";
constexpr int kMostDevices = 256;  // an image of more is no image of a host there is

[[noreturn]] void refuse(std::string what) {
  throw Error(Fault::image, fmt::format("{}: {}", kFile, what));
}

void check_devices(const image::GpuState& state) {
  if (state.devices_size() == 0 || state.devices_size() > kMostDevices)
    refuse(fmt::format("{} devices", state.devices_size()));
  std::set<std::string> numbers;
  for (const auto& device : state.devices()) {
    if (device.uuid().size() != sizeof(gpu::Uuid::bytes))
      refuse(fmt::format("a number of {} bytes for a device", device.uuid().size()));
    if (!numbers.insert(device.uuid()).second) refuse("a device is there twice");
  }
}

void check_process(const image::GpuProcess& process, const std::vector<tree::ProcessImage>& images) {
  const auto found =
      std::ranges::find_if(images, [&](const tree::ProcessImage& one) { return one.core.pid() == process.pid(); });
  if (found == images.end() || found->core.zombie()) refuse(fmt::format("there is no process {}", process.pid()));
  // The leader never is: it is the program's own.
  const bool is_thread = std::ranges::any_of(found->threads, [&](const auto& thread) {
    return thread.tid() == process.restore_thread() && thread.tid() != process.pid();
  });
  if (!is_thread) refuse(fmt::format("process {} has no thread {}", process.pid(), process.restore_thread()));
}

// The driver's own: no handler of the program is to run in it while all others stand still.
class RunningThread {
 public:
  explicit RunningThread(trace::Tracee& thread) : thread_(thread), mask_(sys::get_signal_mask(thread.tid())) {
    sys::set_signal_mask(thread.tid(), ~uint64_t{0});
    thread.run();
  }
  void stop() {
    thread_.stop_again(Clock::now() + std::chrono::seconds(10));
    sys::set_signal_mask(thread_.tid(), mask_);
  }

 private:
  trace::Tracee& thread_;
  uint64_t mask_;
};

std::vector<gpu::Gpu> devices_of(const image::GpuState& state) {
  std::vector<gpu::Gpu> gpus;
  for (const auto& device : state.devices()) {
    gpu::Gpu& gpu = gpus.emplace_back();
    std::memcpy(gpu.uuid.bytes.data(), device.uuid().data(), gpu.uuid.bytes.size());
    gpu.name = device.name();
    gpu.memory_bytes = device.memory_bytes();
    gpu.major = device.compute_major(), gpu.minor = device.compute_minor();
  }
  return gpus;
}

}  // namespace

GpuRestore::GpuRestore(const images::ImageReader& reader, const std::vector<tree::ProcessImage>& images) {
  if (!reader.has(kFile)) return;
  auto records = reader.records(kFile);
  state_ = records.read<image::GpuState>();
  if (records.next_type()) refuse("more than one record");
  check_devices(state_);
  std::set<int32_t> pids;
  for (const auto& process : state_.processes()) {
    check_process(process, images);
    if (!pids.insert(process.pid()).second) refuse(fmt::format("process {} is there twice", process.pid()));
  }
}

void GpuRestore::check(const RestoreOptions& options, const std::vector<tree::ProcessImage>& images,
                       std::vector<Problem>& problems) {
  if (state_.processes().empty()) {
    if (!options.gpu_map.empty())
      problems.push_back({"--gpu-map", "the program of this image uses no GPU", "restore without it"});
    return;
  }
  const bool stands = options.leave_stopped || std::ranges::any_of(images, [&](const tree::ProcessImage& one) {
                        return one.core.stopped() && std::ranges::any_of(state_.processes(), [&](const auto& process) {
                                 return process.pid() == one.core.pid();
                               });
                      });
  if (stands)
    problems.push_back({"GPU", "a stopped program cannot take it back: the driver needs its threads to run",
                        "restore it running, and stop it afterwards"});
  std::string why;
  driver_ = gpu::Driver::open(why);
  if (!driver_) {
    problems.push_back({"GPU", fmt::format("the program uses CUDA, and {}", why), "restore on a host with the driver"});
    return;
  }
  map_ = gpu::match_gpus(devices_of(state_), driver_->gpus(), options.gpu_map, problems);
  for (const auto& [old_uuid, new_uuid] : map_)
    log::info("gpu", "{} of the image becomes {}", gpu::to_text(old_uuid), gpu::to_text(new_uuid));
}

void GpuRestore::restore(NewProcesses& processes, RestoreStatistics& statistics) {
  if (state_.processes().empty()) return;
  const Step step("GPU");
  const auto start = Clock::now();
  std::vector<HostPid> pids;
  std::vector<RunningThread> running;
  running.reserve(static_cast<size_t>(state_.processes_size()));
  for (const auto& one : state_.processes()) {
    inject::NewProcess& process = *processes.at(one.pid());
    running.emplace_back(process.thread(process.host_tid(one.restore_thread())));
    pids.push_back(process.pid());
  }
  gpu::each_at_once(pids, [&](HostPid pid) {
    driver_->restore(pid, map_);
    driver_->unlock(pid);
  });
  for (RunningThread& thread : running) thread.stop();
  statistics.gpu_us =
      static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
}

}  // namespace mcr::engine
