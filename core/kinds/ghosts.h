// Dump: files without a name, with what is needed to make them again. Each inode once.
#pragma once

#include <map>

#include "core/kinds/kind.h"
#include "images/store.h"

namespace mcr::kinds {

class Ghosts {
 public:
  // Refuses what is too large or cannot be made again. Also before the freeze.
  static void look(const FileView& file, uint64_t limit);
  // Frozen. Returns the ghost's id.
  uint32_t enter(const FileView& file, images::ImageWriter& writer);
  mcr::image::Ghost& ghost(uint32_t id) { return ghosts_.at(id - 1); }  // valid until the next one is entered
  void write(images::RecordWriter& records) const;

 private:
  void store_content(const FileView& file, mcr::image::Ghost& ghost, images::ImageWriter& writer) const;
  uint32_t enter_parent(const FileView& folder, images::ImageWriter& writer);

  std::vector<mcr::image::Ghost> ghosts_;
  std::map<std::pair<dev_t, ino_t>, uint32_t> ids_;
};

}  // namespace mcr::kinds
