#include "images/run_shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>

#include "core/base/error.h"
#include "images/format.h"

namespace mcr::images {
namespace {

using image::PageRun;

bool fits(uint64_t offset, uint64_t bytes, uint64_t size) {
  return offset >= kPageFileHeader && offset <= size && bytes <= size - offset;
}

std::string chunk_fault(const PageRun& run, uint64_t chunks, const StoreSizes& sizes) {
  if (static_cast<uint64_t>(run.chunk_streams_size()) != chunks ||
      static_cast<uint64_t>(run.chunk_offsets_size()) != chunks ||
      static_cast<uint64_t>(run.chunk_stored_size()) != chunks)
    return fmt::format("has {} chunks, but {} streams, {} offsets and {} sizes of them", chunks,
                       run.chunk_streams_size(), run.chunk_offsets_size(), run.chunk_stored_size());
  if (run.offset() != 0) return "lies in streams and has an offset";
  for (int i = 0; i < static_cast<int>(chunks); ++i) {
    const uint64_t bytes = run.source() == PageRun::REPEATED
                               ? sizes.page
                               : std::min<uint64_t>(run.chunk_bytes(), run.bytes() - uint64_t{run.chunk_bytes()} *
                                                                                         static_cast<uint64_t>(i));
    if (run.chunk_streams(i) >= sizes.streams.size())
      return fmt::format("names stream {} of {}", run.chunk_streams(i), sizes.streams.size());
    if (run.chunk_stored(i) == 0 || run.chunk_stored(i) > bytes)
      return fmt::format("has a chunk of {} bytes that takes {}", bytes, run.chunk_stored(i));
    if (!fits(run.chunk_offsets(i), run.chunk_stored(i), sizes.streams[run.chunk_streams(i)]))
      return fmt::format("has {} bytes at {} of stream {}, which has {}", run.chunk_stored(i), run.chunk_offsets(i),
                         run.chunk_streams(i), sizes.streams[run.chunk_streams(i)]);
  }
  return {};
}

bool has_places(const PageRun& run) {
  return run.chunk_streams_size() != 0 || run.chunk_offsets_size() != 0 || run.chunk_stored_size() != 0;
}

std::string nothing_stored_fault(const PageRun& run) {
  if (run.offset() != 0 || run.chunk_bytes() != 0 || run.checksums_size() != 0 || has_places(run))
    return "stores nothing and says where";
  return {};
}

std::string file_fault(const PageRun& run, uint64_t bytes, const StoreSizes& sizes) {
  if (has_places(run)) return "lies in the pages file and in streams";
  if (run.offset() % sizes.page != 0 || !fits(run.offset(), bytes, sizes.pages_file))
    return fmt::format("lies outside of its file: {} bytes at {} of {}", bytes, run.offset(), sizes.pages_file);
  return {};
}

}  // namespace

std::vector<uint64_t> stream_sizes(const ImageReader& reader) {
  const auto& inventory = reader.inventory();
  if (inventory.streams_size() == 0) return {};
  if (inventory.streams_size() > kMostStreams)
    throw_damaged(kInventoryName, kHeaderBytes, fmt::format("it names {} streams", inventory.streams_size()));
  std::map<std::string_view, uint64_t> files;
  for (const auto& file : inventory.files())
    if (file.checksum() == 0) files.emplace(file.name(), file.size());
  std::vector<uint64_t> sizes;
  for (const std::string& name : inventory.streams()) {
    if (std::ranges::count(inventory.streams(), name) != 1)
      throw_damaged(kInventoryName, kHeaderBytes, fmt::format("{:.64} is named as two streams", name));
    const auto file = files.find(name);
    if (file == files.end())
      throw Error(Fault::image, fmt::format("the image has no stream {:.64}", name),
                  "the image is damaged: use another copy");
    sizes.push_back(file->second);
  }
  return sizes;
}

uint64_t chunks_of(const PageRun& run) {
  if (run.source() == PageRun::ZERO || run.source() == PageRun::PARENT) return 0;
  if (run.source() == PageRun::REPEATED) return 1;
  return run.chunk_bytes() == 0 || run.bytes() == 0 ? 0 : (run.bytes() - 1) / run.chunk_bytes() + 1;
}

bool is_in_stream(const PageRun& run) {
  return run.source() == PageRun::STREAMS || (run.source() == PageRun::REPEATED && run.chunk_streams_size() != 0);
}

uint64_t stored_bytes(const PageRun& run) {
  if (run.source() == PageRun::FILE) return run.bytes();
  if (!is_in_stream(run)) return run.source() == PageRun::REPEATED ? run.chunk_bytes() : 0;
  uint64_t bytes = 0;
  for (const uint32_t stored : run.chunk_stored()) bytes += stored;
  return bytes;
}

std::string run_fault(const PageRun& run, const StoreSizes& sizes) {
  if (!PageRun::Source_IsValid(run.source()))
    return fmt::format("has its content from source {}, which is not known", static_cast<int>(run.source()));
  if (run.source() == PageRun::ZERO || run.source() == PageRun::PARENT) return nothing_stored_fault(run);
  const uint32_t most = run.source() == PageRun::STREAMS ? kChunkBytes : kMostRunChunk;
  if (run.chunk_bytes() == 0 || run.chunk_bytes() % sizes.page != 0 || run.chunk_bytes() > most)
    return fmt::format("has impossible chunk_bytes, {}", run.chunk_bytes());
  if (run.source() == PageRun::REPEATED && run.chunk_bytes() != sizes.page)
    return fmt::format("repeats a page of {} bytes", run.chunk_bytes());
  const uint64_t chunks = chunks_of(run);
  if (static_cast<uint64_t>(run.checksums_size()) != chunks)
    return fmt::format("has {} of {} checksums", run.checksums_size(), chunks);
  if (is_in_stream(run)) return chunk_fault(run, chunks, sizes);
  return file_fault(run, run.source() == PageRun::REPEATED ? sizes.page : run.bytes(), sizes);
}

}  // namespace mcr::images
