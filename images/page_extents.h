// What the records of an image say about one file of pages, and the check of that file against it. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "images/page_file.h"

namespace mcr::images {

// A stretch of a pages file with the checksums of its chunks.
struct PageExtent {
  uint64_t offset = 0, bytes = 0;
  uint32_t chunk_bytes = 0;
  std::vector<uint64_t> checksums;
  std::string owner;         // for messages: "the run at 0x7f0000000000 of mm-12.img"
  bool may_overlap = false;  // one page for many: it may lie in another extent, or be one of several at its place
};

// Reads the file from kPageFileHeader to `size`: every chunk against its checksum; bytes that belong to no extent must
// be zero; extents must lie inside the file and not overlap, but for those that may. Throws at the first bad chunk.
void check_page_file(const PageFile& file, const std::string& name, uint64_t size, std::vector<PageExtent> extents);

// Only the last of that: bytes that belong to none of the stretches (offset, bytes) are zero. For readers that check
// the chunks when they use them. The stretches lie inside the file.
void check_gaps(const PageFile& file, const std::string& name, uint64_t size,
                std::vector<std::pair<uint64_t, uint64_t>> stretches);

// A chunk in a stream: (offset, bytes).
using StreamPlace = std::pair<uint64_t, uint64_t>;
// Streams hold chunks and nothing else: the places, of which several may be the same, lie inside the file, side by side
// from kPageFileHeader to `size`.
void check_stream(const std::string& name, uint64_t size, std::vector<StreamPlace> places);

}  // namespace mcr::images
