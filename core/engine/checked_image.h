// An image that is to be restored, read as a whole, and what stands in the way of it on this host: all of it is known
// before anything is created.
#pragma once

#include <memory>
#include <vector>

#include "core/engine/caller.h"
#include "core/engine/gpu_restore.h"
#include "core/engine/options.h"
#include "core/engine/restore_check.h"
#include "core/kinds/opened_files.h"
#include "core/kinds/sysv_ipc.h"
#include "core/tree/cgroups.h"
#include "core/tree/process_image.h"
#include "images/parent_chain.h"

namespace mcr::engine {

images::ImagePlace place_of_image(const RestoreOptions& options);
void refuse_memory_only(const images::ImageReader& reader, const RestoreOptions& options);
kinds::RestorePolicy restore_policy(const RestoreOptions& options);

struct CheckedImage {
  // Throws Fault::image. Both outlive it.
  CheckedImage(const images::ImageReader& reader, const RestoreOptions& options);

  // Creates nothing; loads the driver of GPUs. Throws Fault::image.
  std::vector<Problem> find_problems(const kinds::OpenedFiles& files);

  const images::ImageReader& reader;
  const RestoreOptions& options;
  const Caller caller;
  const PidPlace place;
  const std::vector<tree::ProcessImage> processes;
  const std::unique_ptr<images::ParentChain> parents;  // what the image builds upon; null: nothing
  tree::RestoredCgroups cgroups;
  kinds::IpcObjects ipc;
  GpuRestore gpu;
};

}  // namespace mcr::engine
