// Do the numbers of one PageRun fit together and into the files that they name? Pure; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "images/proto/mm.pb.h"
#include "images/store.h"

namespace mcr::images {

inline constexpr int kMostStreams = 64;
inline constexpr uint32_t kMostRunChunk = 1u << 30;  // one checksum over more is nothing that a reader could hold

struct StoreSizes {
  uint64_t page = 4096;               // bytes of a page
  uint64_t pages_file = 0;            // bytes of the pages file of the process
  std::span<const uint64_t> streams;  // bytes of each stream of the image
};

// What is wrong with it, in words that follow "the run at ..."; empty: nothing. `start` and `bytes` are the caller's to
// check: they are about memory.
std::string run_fault(const image::PageRun& run, const StoreSizes& sizes);

// Bytes of the files that the inventory names as streams, by number; from the inventory. Throws for names of none.
std::vector<uint64_t> stream_sizes(const ImageReader& reader);

// Chunks of `chunk_bytes` that the run has; 0 when it has no chunks or they cannot be counted.
uint64_t chunks_of(const image::PageRun& run);
bool is_in_stream(const image::PageRun& run);      // STREAMS, or REPEATED with its page in a stream
uint64_t stored_bytes(const image::PageRun& run);  // that it takes in files; a place that two runs share counts in both

}  // namespace mcr::images
