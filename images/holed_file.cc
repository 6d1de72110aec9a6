#include "images/holed_file.h"

#include <algorithm>

#include "core/sys/file.h"

namespace mcr::images {

void HoledFile::append(std::span<const char> piece) {
  constexpr uint64_t kBlock = 4096;
  while (!piece.empty()) {
    const auto part = piece.first(std::min<size_t>(piece.size(), kBlock - size_ % kBlock));
    if (std::ranges::any_of(part, [](char c) { return c != 0; }))
      sys::pwrite_fully(fd_.get(), part.data(), part.size(), size_);
    size_ += part.size();
    piece = piece.subspan(part.size());
  }
}

void HoledFile::finish(bool sync) {
  sys::truncate_fd(fd_.get(), size_);
  if (sync) sys::sync_fd(fd_.get());
}

}  // namespace mcr::images
