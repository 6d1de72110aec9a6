// PageWriter: the data of shared memory, which is a file.
#include <algorithm>

#include "core/mem/page_writer.h"
#include "core/sys/file.h"
#include "images/store.h"

namespace mcr::mem {
namespace {

using image::PageRun;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kToldBytes = 16 << 20;

}  // namespace

// What the file has become shorter by meanwhile reads as zeros.
std::vector<PageRun> PageWriter::write_file_to_streams(int fd, uint32_t shared_id, uint64_t size) {
  std::vector<PageStreams::Extent> extents;
  for (uint64_t at = 0; at < size;) {
    const auto data = sys::try_seek(fd, static_cast<int64_t>(at), SEEK_DATA);
    if (!data || *data >= size) break;
    const uint64_t start = *data / kPage * kPage;
    const uint64_t hole = std::min(size, sys::try_seek(fd, static_cast<int64_t>(start), SEEK_HOLE).value_or(size));
    at = (std::max(hole, start + 1) + kPage - 1) / kPage * kPage;
    extents.push_back({start, at - start});
  }
  const uint64_t before = others_.streams->pages_written();
  auto runs = others_.streams->write(extents, [fd](const PageStreams::Extent&, uint64_t at, std::span<std::byte> out) {
    std::ranges::fill(out.subspan(sys::pread_whole(fd, out.data(), out.size(), at)), std::byte{0});
  });
  for (PageRun& run : runs) run.set_shared(shared_id);
  pages_ += others_.streams->pages_written() - before;
  return runs;
}

std::vector<PageRun> PageWriter::write_file(int fd, uint32_t shared_id, uint64_t size) {
  if (others_.streams) return write_file_to_streams(fd, shared_id, size);
  std::vector<PageRun> runs;
  PageBuffer buffer(images::kChunkBytes);
  split_.expect(size);
  uint64_t told = offset_;
  for (uint64_t at = 0; at < size;) {
    const auto data = sys::try_seek(fd, static_cast<int64_t>(at), SEEK_DATA);
    if (!data || *data >= size) break;
    at = *data / kPage * kPage;
    const uint64_t start = at;
    const uint64_t hole = std::min(size, sys::try_seek(fd, static_cast<int64_t>(start), SEEK_HOLE).value_or(size));
    while (at < hole) {
      const size_t n = sys::pread_some(fd, buffer.data(), std::min<uint64_t>(buffer.size(), hole - at), at);
      if (n == 0) break;
      const size_t padded = (n + kPage - 1) / kPage * kPage;
      std::ranges::fill(std::span(buffer).subspan(n, padded - n), std::byte{0});
      const auto segments = split_.in_pages_file(std::span(buffer).first(padded), at, offset_, workers_[0].sight);
      for (const auto& segment : segments)
        if (segment.source == PageRun::FILE)
          sys::pwrite_fully(fd_, buffer.data() + (segment.start - at), segment.bytes, segment.place.offset);
      PageSplit::append(runs, at == start, segments);
      offset_ += padded;
      at += padded;
      if (offset_ - told >= kToldBytes) tell_stored(told = offset_);
    }
    pages_ += (at - start) / kPage;
    if (at == start) break;  // it has become shorter
  }
  for (PageRun& run : runs) run.set_shared(shared_id);
  return runs;
}

}  // namespace mcr::mem
