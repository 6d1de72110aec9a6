// Where ImageWriter puts the files of an image: a folder, or a stream. Private to images.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "images/store.h"

namespace mcr::images {

class Destination {
 public:
  virtual ~Destination() = default;
  virtual RecordWriter records(const std::string& name) = 0;
  virtual void added(RecordWriter& finished) = 0;
  virtual UniqueFd pages(const std::string& name) = 0;
  virtual void stored(const std::string& name, int fd, uint64_t end) = 0;
  virtual uint64_t added_pages(const std::string& name, int fd) = 0;  // its size
  // Writes the inventory and makes the image whole. `names`: of the files that it lists. Returns the inventory's bytes.
  virtual uint64_t commit(const mcr::image::Inventory& inventory, const std::set<std::string>& names) = 0;
};

std::unique_ptr<Destination> folder_destination(const std::string& directory, bool sync);
std::unique_ptr<Destination> stream_destination(ByteSink& stream);

}  // namespace mcr::images
