// Which files of an image folder are the image, and what else lies there. Reads only, but for open_settled_folder().
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/base/unique_fd.h"
#include "images/store.h"

namespace mcr::images {

inline constexpr char kSealName[] = "seal";
inline constexpr char kJobName[] = "job.json";  // what a job has put back with its image

struct FolderFiles {
  std::vector<std::string> image;   // sorted: the inventory, what it lists, and what a job needs with it
  std::vector<std::string> others;  // sorted: what does not belong there. Logs, figures and the seal are not among them
};
// What mini-criu itself puts beside an image and no restore reads: logs, figures, the seal; where the image builds upon
// others, the folders of those that came with it.
bool lies_beside(std::string_view name, bool has_parent);
FolderFiles files_of_folder(int folder, const ImageReader& reader);

// The folder with all files of the image in their places: a commit that was interrupted is finished first.
UniqueFd open_settled_folder(const std::string& directory);
std::string image_id_of(int folder);  // from the header of the inventory; hexadecimal

}  // namespace mcr::images
