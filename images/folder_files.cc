#include "images/folder_files.h"

#include <fcntl.h>

#include <algorithm>
#include <set>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/byte_text.h"
#include "images/commit.h"
#include "images/file_list.h"
#include "images/format.h"

namespace mcr::images {

bool lies_beside(std::string_view name, bool has_parent) {
  ListedName parsed;
  const bool is_folder = parse_listed_name(std::string(name) + "/x", parsed) && parsed.parent != 0;
  return name.ends_with(".log") || name == "stats-restore.img" || name == kSealName || (has_parent && is_folder);
}

FolderFiles files_of_folder(int folder, const ImageReader& reader) {
  FolderFiles files;
  std::set<std::string> own{kInventoryName};
  for (const auto& file : reader.inventory().files()) own.insert(file.name());
  for (const std::string& name : sys::list_directory_fd(folder)) {
    if (name == kJobName) own.insert(name);
    if (!own.contains(name) && !lies_beside(name, reader.inventory().has_parent())) files.others.push_back(name);
  }
  files.image.assign(own.begin(), own.end());
  std::ranges::sort(files.others);
  return files;
}

UniqueFd open_settled_folder(const std::string& directory) {
  UniqueFd folder = sys::open(directory, O_RDONLY | O_DIRECTORY);
  if (!sys::try_stat_at(folder.get(), kCommitName)) return folder;
  finish_pending_commit(folder.get(), true);
  if (sys::try_stat_at(folder.get(), kCommitName))
    throw Error(Fault::refused, fmt::format("another program is committing an image to {}", directory),
                "wait for it to end");
  return folder;
}

std::string image_id_of(int folder) {
  const auto fd = open_image_file(folder, kInventoryName);
  if (!fd) throw Error(Fault::image, fmt::format("{} is missing", kInventoryName), "use another copy of the image");
  return hexadecimal(read_header(fd->get(), kInventoryName).image_id);
}

}  // namespace mcr::images
