// The content of a file that no path leads to: deleted files, memfds, System V segments. Stored as extents of data,
// holes left out.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "images/proto/files.pb.h"
#include "images/store.h"

namespace mcr::kinds {

// Appends the extents of an open file of ghost.size() bytes to `ghost` and writes them to `content`, a new file of
// pages. `stored` is told how far that is written (ImageWriter::stored).
using Stored = std::function<void(uint64_t end)>;
void store_content(int source, int content, mcr::image::Ghost& ghost, const Stored& stored);

// Hands out what was stored, piece by piece, checked; the rest of the file is zeros. Throws Fault::image.
using TakePiece = std::function<void(std::span<const std::byte> bytes, uint64_t file_offset)>;
void read_content(const images::ImageReader& reader, const mcr::image::Ghost& ghost, const TakePiece& take);

}  // namespace mcr::kinds
