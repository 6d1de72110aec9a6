#include "images/folder_owner.h"

#include "core/base/log.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::images {

void warn_of_others(int folder, const std::string& name) {
  const struct stat status = sys::stat_fd(folder);
  if (status.st_uid != 0 && status.st_uid != sys::effective_uid())
    log::warning("images", "the folder {} belongs to user {}, who can put another image there", name, status.st_uid);
  if ((status.st_mode & S_IWOTH) && !(status.st_mode & S_ISVTX))
    log::warning("images", "everybody may write to the folder {} and put another image there", name);
}

}  // namespace mcr::images
