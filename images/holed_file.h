// A file of an image that comes as a stream, which has the holes of files of pages as zeros: they become holes again.
// One thread.
#pragma once

#include <cstdint>
#include <span>

#include "core/base/unique_fd.h"

namespace mcr::images {

class HoledFile {
 public:
  explicit HoledFile(UniqueFd fd) : fd_(std::move(fd)) {}
  void append(std::span<const char> piece);
  void finish(bool sync);

 private:
  UniqueFd fd_;
  uint64_t size_ = 0;
};

}  // namespace mcr::images
