// The GPU's part of a restore: GPUs of this host for those of the image, before anything is created; and at the end,
// when all else of the program is there, device memory back from the memory of its processes.
#pragma once

#include <memory>
#include <vector>

#include "core/engine/create_tree.h"
#include "core/engine/engine.h"
#include "gpu/driver.h"
#include "images/proto/gpu.pb.h"
#include "images/store.h"

namespace mcr::engine {

class GpuRestore {
 public:
  // Reads gpu.img, if there is one, and checks that it could have been written.
  GpuRestore(const images::ImageReader& reader, const std::vector<tree::ProcessImage>& images);

  bool has_work() const { return !state_.processes().empty(); }
  // What stands in the way here. Loads the driver.
  void check(const RestoreOptions& options, const std::vector<tree::ProcessImage>& images,
             std::vector<Problem>& problems);
  // All of the processes stand at their frames, complete. Meanwhile the driver's thread in each runs, with all signals
  // blocked, and the others stand still. Throws; then the processes must be ended.
  void restore(NewProcesses& processes, RestoreStatistics& statistics);

 private:
  mcr::image::GpuState state_;
  std::unique_ptr<gpu::Driver> driver_;
  gpu::GpuMap map_;
};

}  // namespace mcr::engine
