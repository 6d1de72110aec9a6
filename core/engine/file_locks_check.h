// Whether the locks and leases of an image can be taken again here.
#pragma once

#include "core/kinds/opened_files.h"
#include "core/tree/process_image.h"

namespace mcr::engine {

void check_file_locks(const std::vector<tree::ProcessImage>& processes, const kinds::OpenedFiles& files,
                      std::vector<Problem>& problems);

}  // namespace mcr::engine
