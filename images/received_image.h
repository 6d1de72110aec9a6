// An image that came as a stream, in memory: small files as they are, large ones in memfds, whose pages can be given
// back one by one. Reading it whole and checking it comes before all else. One thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "core/base/progress.h"
#include "core/base/unique_fd.h"
#include "images/archive.h"

namespace mcr::images {

class ReceivedImage {
 public:
  // Reads up to the end record. Throws Fault::image when it is damaged or cut off, Fault::refused when it does not fit
  // into memory, and what `read` throws.
  static std::shared_ptr<const ReceivedImage> receive(const ReadBytes& read, Progress* progress = nullptr);
  ~ReceivedImage();
  ReceivedImage(const ReceivedImage&) = delete;
  ReceivedImage& operator=(const ReceivedImage&) = delete;

  // A descriptor of its own position; of a large file holes can be punched through it. nullopt: there is no such file.
  std::optional<UniqueFd> open(const std::string& name) const;
  size_t count() const;  // files
  uint64_t bytes() const;

 private:
  ReceivedImage();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mcr::images
