// Images for people and for scripts. Reads only; errors as in store.h.
#pragma once

#include <cstdint>
#include <string>

#include "images/store.h"

namespace mcr::images {

// One file of an image, wherever it lies: [{"type": "mcr.image.Vma", "message": {…}}, …]. docs/image-format.md says how
// fields look. A file of pages shows its header only.
std::string show_file_json(const std::string& path);
// A whole image: where and when it was taken, its processes with their descriptors, its files.
std::string show_image_text(const ImagePlace& place);
std::string show_image_json(const ImagePlace& place);

// One side of it, of all processes or of one. docs/images.md.
enum class Part { tree, descriptors, memory, sockets, mappings };
struct Shown {
  Part part = Part::tree;
  int32_t pid = 0;  // 0: all
};
std::string show_part_text(const ImagePlace& place, const Shown& shown);
std::string show_part_json(const ImagePlace& place, const Shown& shown);

// Where the bytes are: by process, by kind of mapping, by kind of file.
std::string stat_text(const ImagePlace& place);
std::string stat_json(const ImagePlace& place);

}  // namespace mcr::images
