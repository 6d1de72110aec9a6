// A file of pages of an image, open. One that lies on another host (images/far_image.h) is a memfd here, of which only
// those parts are there that were brought. Any thread.
#pragma once

#include <cstdint>
#include <memory>

#include "core/base/unique_fd.h"

namespace mcr::images {

class FarFile;

class PageFile {
 public:
  PageFile(UniqueFd fd);  // NOLINT: a file that is here
  explicit PageFile(std::shared_ptr<FarFile> far);
  int get() const;
  uint64_t size() const { return size_; }  // when it was opened
  // To be called before these bytes are read, or mapped, through the descriptor. Throws what the other host, or the way
  // to it, has for an error. Nothing for a file that is here.
  void bring(uint64_t offset, uint64_t bytes) const;
  // Up to so many bytes; 0: behind its end. Of one that lies elsewhere nothing stays here for long that is only read
  // so.
  size_t read(uint64_t offset, void* data, size_t bytes) const;

 private:
  UniqueFd fd_;
  std::shared_ptr<FarFile> far_;  // null: it is here
  uint64_t size_ = 0;
};

}  // namespace mcr::images
