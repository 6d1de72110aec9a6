// Builds one process from its image: the new process stands still, complete, until it is released.
#pragma once

#include "core/engine/engine.h"
#include "core/inject/new_process.h"
#include "core/kinds/opened_files.h"
#include "core/tree/process_image.h"
#include "images/proto/inventory.pb.h"

namespace mcr::engine {

struct RestoreContext {
  const RestoreOptions& options;
  const images::ImageReader& reader;
  kinds::OpenedFiles& files;
  RestoreStatistics& statistics;
  Damage& damage;
};

std::unique_ptr<inject::NewProcess> restore_process(const tree::ProcessImage& image, RestoreContext& context);

}  // namespace mcr::engine
