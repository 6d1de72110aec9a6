// Stretches of a program's memory as chunks, taken from the front, in order, and from the end. One thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "core/mem/page_source.h"

namespace mcr::mem {

struct MemoryChunk {
  uint64_t address, bytes;
  bool readable;        // for the program itself
  bool begins;          // the first of its stretch
  uint64_t offset = 0;  // in the pages file, once it has a place there
};

class ChunkQueue {
 public:
  // `sources` outlives it. Chunks begin at multiples of `chunk` from the beginning of their stretch.
  ChunkQueue(std::span<const PageSource> sources, uint64_t chunk) : sources_(sources), chunk_(chunk) {
    for (const PageSource& source : sources) left_ += source.bytes;
    if (!sources.empty()) end_ = sources.back().bytes;
  }
  uint64_t left() const { return left_; }  // bytes

  // Chunks of so many bytes together, or a little more, and of no more than so many; none: nothing is left.
  std::vector<MemoryChunk> take_front(uint64_t bytes, size_t most) {
    std::vector<MemoryChunk> chunks;
    for (uint64_t taken = 0; left_ != 0 && taken < bytes && chunks.size() < most; taken += chunks.back().bytes) {
      const PageSource& source = sources_.front();
      const uint64_t end = sources_.size() == 1 ? end_ : source.bytes, size = std::min(end - done_, chunk_);
      chunks.push_back({source.start + done_, size, source.readable, done_ == 0});
      left_ -= size;
      done_ += size;
      if (done_ == end && sources_.size() > 1) sources_ = sources_.subspan(1), done_ = 0;
    }
    return chunks;
  }

  // The last one. left() must not be 0.
  MemoryChunk take_back() {
    const PageSource& source = sources_.back();
    const uint64_t begin = (end_ - 1) / chunk_ * chunk_;
    const MemoryChunk chunk{source.start + begin, end_ - begin, source.readable, begin == 0};
    left_ -= chunk.bytes;
    end_ = begin;
    if (end_ == 0 && sources_.size() > 1) sources_ = sources_.first(sources_.size() - 1), end_ = sources_.back().bytes;
    return chunk;
  }

 private:
  std::span<const PageSource> sources_;  // which have something left
  const uint64_t chunk_;
  uint64_t left_ = 0;
  uint64_t done_ = 0;  // of the first
  uint64_t end_ = 0;   // of the last
};

}  // namespace mcr::mem
