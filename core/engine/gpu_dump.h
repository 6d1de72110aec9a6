// The GPU's part of a dump: CUDA processes are found by the look, locked and checkpointed while their threads still run
// (the driver needs them), and brought back when the program is to go on, or when anything fails.
#pragma once

#include <exception>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "core/engine/options.h"
#include "core/procfs/maps.h"
#include "core/sys/successor.h"
#include "gpu/suspension.h"
#include "images/proto/stats.pb.h"
#include "images/store.h"

namespace mcr::engine {

// Filled by the look, by two threads.
class GpuUsers {
 public:
  void forget();
  void note(HostPid pid, const std::vector<procfs::Mapping>& mappings);  // who has the library, may use CUDA
  void note_holder(HostPid pid);                                         // who has a GPU device open
  const std::set<HostPid>& with_library() const { return with_library_; }
  const std::set<HostPid>& holders() const { return holders_; }

 private:
  std::mutex noting_;
  std::set<HostPid> with_library_, holders_;
};

class GpuDump {
 public:
  GpuDump(const DumpOptions& options, Damage& damage) : options_(options), damage_(damage) {}

  // Refuses what the driver cannot save, as far as it tells; touches no process. Returns those that use CUDA.
  std::vector<HostPid> look(const GpuUsers& users);
  // Before the freeze; looks first.
  void suspend(const GpuUsers& users, const sys::Deadline& deadline, mcr::image::DumpStatistics& statistics);
  void write(images::ImageWriter& writer) const;  // gpu.img, if there is anything to say; nothing has ended yet
  // Everything runs again. What went wrong, if anything did: the image is to be stored first.
  std::exception_ptr try_resume(mcr::image::DumpStatistics& statistics);
  void abandon();  // everything has ended

 private:
  std::vector<HostPid> find_cuda_processes(const GpuUsers& users) const;

  const DumpOptions& options_;
  Damage& damage_;
  std::unique_ptr<gpu::Driver> driver_;
  std::vector<gpu::Gpu> gpus_;
  std::map<HostPid, HostTid> restore_threads_;
  std::map<HostPid, uint64_t> grown_by_;     // bytes
  std::optional<sys::Successor> successor_;  // brings them back should we be killed
  std::optional<gpu::Suspension> suspension_;
};

}  // namespace mcr::engine
