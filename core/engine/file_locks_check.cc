#include "core/engine/file_locks_check.h"

#include "core/kinds/file_locks.h"
#include "core/kinds/files_check.h"

namespace mcr::engine {

void check_file_locks(const std::vector<tree::ProcessImage>& processes, const kinds::OpenedFiles& files,
                      std::vector<Problem>& problems) {
  std::set<uint32_t> done;
  for (const tree::ProcessImage& p : processes)
    for (const auto& descriptor : p.descriptors) {
      kinds::check_locks(descriptor);
      if (descriptor.locks().empty() && files.object(descriptor.file()).locks().empty()) continue;
      const auto path = files.path_of(descriptor.file());
      if (!path) continue;
      for (const auto& lock : descriptor.locks()) kinds::check_lock(lock, *path, problems);
      if (!done.insert(descriptor.file()).second) continue;
      for (const auto& lock : files.object(descriptor.file()).locks()) kinds::check_lock(lock, *path, problems);
    }
}

}  // namespace mcr::engine
