#include "core/engine/gpu_dump.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"
#include "core/trace/frozen_tree.h"
#include "images/proto/gpu.pb.h"

namespace mcr::engine {
namespace {

using sys::Clock;

uint64_t since_us(Clock::time_point start) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
}

uint64_t resident_bytes(HostPid pid) {
  const auto text = sys::try_read_text(fmt::format("/proc/{}/status", pid));
  return text ? procfs::parse_status(*text).anonymous_kb.value_or(0) * 1024 : 0;
}

std::string names_of(const std::vector<HostPid>& pids) {
  std::string text;
  for (const HostPid pid : pids) text += (text.empty() ? "" : ", ") + trace::describe_process(pid);
  return text;
}

// The driver's thread in it could not run. A process is stopped for as long as its first thread is.
void refuse_stopped(HostPid pid) {
  const char state = procfs::parse_stat(sys::read_text(fmt::format("/proc/{}/stat", pid))).state;
  if (state == 'T')
    throw Error(Fault::refused, "it uses CUDA and is stopped: the driver needs its threads to run",
                "send it SIGCONT first");
}

}  // namespace

void GpuUsers::forget() {
  const std::lock_guard lock(noting_);
  with_library_.clear(), holders_.clear();
}

void GpuUsers::note(HostPid pid, const std::vector<procfs::Mapping>& mappings) {
  constexpr std::string_view kLibrary = "/libcuda.so.";
  const bool has_library = std::ranges::any_of(
      mappings, [&](const procfs::Mapping& m) { return m.path.find(kLibrary) != std::string::npos; });
  if (!has_library) return;
  const std::lock_guard lock(noting_);
  with_library_.insert(pid);
}

void GpuUsers::note_holder(HostPid pid) {
  const std::lock_guard lock(noting_);
  holders_.insert(pid);
}

std::vector<HostPid> GpuDump::find_cuda_processes(const GpuUsers& users) const {
  std::vector<HostPid> pids;
  for (const HostPid pid : users.with_library())
    if (driver_->state(pid)) pids.push_back(pid);
  for (const HostPid pid : users.holders())
    if (std::ranges::find(pids, pid) == pids.end()) {
      const Step step("process {}", trace::describe_process(pid));
      throw Error(Fault::refused, "it has GPU devices open and does not use CUDA (NVML, graphics, video)",
                  "only what CUDA keeps on a GPU can be saved: let it close them, as with nvmlShutdown()");
    }
  return pids;
}

std::vector<HostPid> GpuDump::look(const GpuUsers& users) {
  if (users.with_library().empty() && users.holders().empty()) return {};
  const Step step("GPU");
  std::string why;
  driver_ = gpu::Driver::open(why);
  if (!driver_) {
    if (users.holders().empty()) return {};  // a library alone has nothing anywhere
    throw Error(Fault::refused, fmt::format("the program uses a GPU, and {}", why),
                "run mini-criu where the program's own driver is to be found");
  }
  std::vector<HostPid> pids = find_cuda_processes(users);
  if (options_.leave_stopped && !pids.empty())
    throw Error(Fault::refused, fmt::format("a stopped program cannot take its GPU back ({})", names_of(pids)),
                "give --leave-running, and stop it afterwards");
  for (const HostPid pid : pids) {
    const Step of_process("process {}", trace::describe_process(pid));
    refuse_stopped(pid);
    restore_threads_[pid] = driver_->restore_thread(pid);
    grown_by_[pid] = resident_bytes(pid);
  }
  return pids;
}

void GpuDump::suspend(const GpuUsers& users, const sys::Deadline& deadline, image::DumpStatistics& statistics) {
  const std::vector<HostPid> pids = look(users);
  if (pids.empty()) return;
  const Step step("GPU");
  gpus_ = driver_->gpus();
  successor_.emplace(std::vector<std::string>{"gpu", "resume", "-t", std::to_string(options_.tree.get())});
  suspension_.emplace(*driver_, damage_);
  const auto start = Clock::now();
  suspension_->lock(pids, deadline);
  statistics.set_gpu_lock_us(since_us(start));
  const auto locked = Clock::now();
  suspension_->checkpoint();
  statistics.set_gpu_save_us(since_us(locked));
  for (auto& [pid, bytes] : grown_by_) bytes = std::max(resident_bytes(pid), bytes) - bytes;
  log::info("gpu", "The GPU memory of {} is in host memory", names_of(pids));
}

void GpuDump::write(images::ImageWriter& writer) const {
  if (!suspension_) return;
  image::GpuState state;
  state.set_driver_version(static_cast<uint32_t>(driver_->version()));
  for (const gpu::Gpu& gpu : gpus_) {
    auto* device = state.add_devices();
    device->set_uuid(gpu.uuid.bytes.data(), gpu.uuid.bytes.size());
    device->set_name(gpu.name);
    device->set_memory_bytes(gpu.memory_bytes);
    device->set_compute_major(gpu.major);
    device->set_compute_minor(gpu.minor);
  }
  for (const HostPid pid : suspension_->processes()) {
    auto* process = state.add_processes();
    process->set_pid(trace::number_inside(HostTid(pid.get())));
    process->set_restore_thread(trace::number_inside(restore_threads_.at(pid)));
    process->set_host_bytes(grown_by_.at(pid));
  }
  auto records = writer.records("gpu.img");
  records.append(state);
  records.finish();
  writer.add(records);
}

std::exception_ptr GpuDump::try_resume(image::DumpStatistics& statistics) {
  if (!suspension_) return nullptr;
  const auto start = Clock::now();
  try {
    suspension_->resume();
  } catch (const Error&) {
    return std::current_exception();
  }
  successor_.reset();
  statistics.set_gpu_back_us(since_us(start));
  return nullptr;
}

void GpuDump::abandon() {
  if (!suspension_) return;
  suspension_->abandon();
  successor_.reset();
}

}  // namespace mcr::engine
