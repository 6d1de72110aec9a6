// Images for people and for scripts. Reads only; errors as in store.h.
#pragma once

#include <string>

namespace mcr::images {

// One file of an image, wherever it lies: [{"type": "mcr.image.Vma", "message": {…}}, …]. docs/image-format.md says how
// fields look. A file of pages shows its header only.
std::string show_file_json(const std::string& path);
// A whole image: where and when it was taken, its processes with their descriptors, its files.
std::string show_image_text(const std::string& directory);
std::string show_image_json(const std::string& directory);

}  // namespace mcr::images
