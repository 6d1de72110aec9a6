// Where things lie in the tar file of an image. Private to images.
#pragma once

#include <cstdint>
#include <string>

#include "images/file_list.h"

namespace mcr::images {

inline constexpr char kManifestName[] = "manifest";  // the first file
inline constexpr char kManifestTitle[] = "mini-criu export 1";

// What image `number` says of where the one lies that it builds upon: all of them are in the folder of the first.
inline std::string carried_parent_path(uint32_t number) {
  return (number == 0 ? "" : "../") + parent_folder_name(number + 1);
}

}  // namespace mcr::images
