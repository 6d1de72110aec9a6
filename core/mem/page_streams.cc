#include "core/mem/page_streams.h"

#include <lz4.h>

#include <algorithm>
#include <cstring>
#include <future>
#include <thread>

#include "core/base/aside.h"
#include "core/base/error.h"
#include "core/base/page_buffer.h"
#include "core/sys/file.h"

namespace mcr::mem {
namespace {

using image::PageRun;

constexpr uint64_t kPage = 4096;
constexpr size_t kChunksAtOnce = 1024;    // whose results wait to become runs
constexpr uint64_t kMostCuts = 16 << 10;  // runs take memory: from here on only whole chunks are left out
constexpr unsigned kMostThreads = 16;     // each has two buffers of a chunk
constexpr uint64_t kWorthAThread = 2 << 20;

}  // namespace

struct PageStreams::Worker {
  PageBuffer content, packed;
  StoredPage last;  // the page that was read back most recently
  PageBuffer last_content;
};

PageStreams::PageStreams(images::ImageWriter& writer, unsigned count, Compression compression)
    : writer_(writer), compression_(compression), dedup_(UINT32_MAX) {
  for (unsigned i = 0; i < count; ++i) {
    std::string name = fmt::format("img-{}.{}", i, compression == Compression::lz4 ? "lz4" : "img");
    UniqueFd fd = writer.pages(name);
    sys::truncate_fd(fd.get(), images::kPageFileHeader);
    streams_.push_back({std::move(name), std::move(fd)});
  }
}

StoredPage PageStreams::reserve(uint32_t bytes) {
  const std::scoped_lock lock(mutex_);
  const auto shortest = std::ranges::min_element(streams_, {}, &Stream::end);
  const StoredPage place{shortest->end, static_cast<uint32_t>(shortest - streams_.begin()), bytes};
  shortest->end += bytes;
  return place;
}

// What does not become shorter is stored as it is.
StoredPage PageStreams::store(std::span<const std::byte> bytes, Worker& worker) {
  auto out = bytes;
  if (compression_ == Compression::lz4) {
    worker.packed.resize(images::kChunkBytes);
    const int packed =
        LZ4_compress_default(reinterpret_cast<const char*>(bytes.data()), reinterpret_cast<char*>(worker.packed.data()),
                             static_cast<int>(bytes.size()), static_cast<int>(bytes.size() - 1));
    if (packed > 0) out = std::span(worker.packed).first(static_cast<size_t>(packed));
  }
  const StoredPage place = reserve(static_cast<uint32_t>(out.size()));
  sys::pwrite_fully(streams_[place.stream].fd.get(), out.data(), out.size(), place.offset);
  stored_pages_ += bytes.size() / kPage;
  return place;
}

bool PageStreams::is_stored(const StoredPage& place, std::span<const std::byte> page, Worker& worker) const {
  if (worker.last.stored != place.stored || worker.last.offset != place.offset || worker.last.stream != place.stream) {
    worker.last.stored = 0;
    worker.last_content.resize(kPage);
    worker.packed.resize(images::kChunkBytes);
    const bool is_packed = place.stored < kPage;
    std::byte* to = is_packed ? worker.packed.data() : worker.last_content.data();
    if (sys::pread_whole(streams_[place.stream].fd.get(), to, place.stored, place.offset) != place.stored) return false;
    if (is_packed &&
        LZ4_decompress_safe(reinterpret_cast<const char*>(to), reinterpret_cast<char*>(worker.last_content.data()),
                            static_cast<int>(place.stored), kPage) != static_cast<int>(kPage))
      return false;
    worker.last = place;
  }
  return std::memcmp(worker.last_content.data(), page.data(), kPage) == 0;
}

// Zeros, or a page that came before.
std::optional<PageStreams::Segment> PageStreams::known(std::span<const std::byte> page, uint64_t address,
                                                       Worker& worker) {
  if (is_zero(page)) return Segment{PageRun::ZERO, address, kPage, 0, {}};
  const uint64_t hash = images::checksum_of(page.data(), page.size());
  const auto found = dedup_.find(hash);
  if (!found) {
    dedup_.note(hash, {});
    return std::nullopt;
  }
  if (found->stored != 0 && !is_stored(*found, page, worker)) return std::nullopt;
  StoredPage place = *found;
  if (place.stored == 0) {
    place = store(page, worker);
    dedup_.note(hash, place);
  }
  return Segment{PageRun::REPEATED, address, kPage, hash, place};
}

std::vector<PageStreams::Segment> PageStreams::store_chunk(const Chunk& chunk, const Read& read, Worker& worker) {
  worker.content.resize(images::kChunkBytes);
  const auto content = std::span(worker.content).first(chunk.bytes);
  read(*chunk.extent, chunk.at, content);
  std::vector<Segment> segments;
  if (is_zero(content)) return {{PageRun::ZERO, chunk.at, chunk.bytes, 0, {}}};
  uint64_t begin = 0;
  const auto store_until = [&](uint64_t end) {
    if (begin == end) return;
    const auto part = content.subspan(begin, end - begin);
    segments.push_back({PageRun::STREAMS, chunk.at + begin, end - begin, images::checksum_of(part.data(), part.size()),
                        store(part, worker)});
  };
  for (uint64_t at = 0; at < chunk.bytes && cuts_ < kMostCuts; at += kPage) {
    const auto page = known(content.subspan(at, kPage), chunk.at + at, worker);
    if (!page) continue;
    store_until(at);
    begin = at + kPage;
    const bool continues =
        !segments.empty() && segments.back().source == page->source &&
        segments.back().start + segments.back().bytes == page->start && segments.back().checksum == page->checksum &&
        segments.back().place.offset == page->place.offset && segments.back().place.stream == page->place.stream;
    if (continues)
      segments.back().bytes += kPage;
    else
      segments.push_back(*page), ++cuts_;
  }
  store_until(chunk.bytes);
  return segments;
}

void PageStreams::write_chunks(const std::vector<Chunk>& chunks, const Read& read,
                               std::vector<std::vector<Segment>>& segments) {
  segments.assign(chunks.size(), {});
  std::atomic<size_t> next = 0;
  std::atomic<bool> failed = false;
  const auto work = [&] {
    Worker worker;
    try {
      for (size_t i = next++; i < chunks.size() && !failed; i = next++)
        segments[i] = store_chunk(chunks[i], read, worker);
    } catch (...) {
      failed = true;
      throw;
    }
  };
  const uint64_t bytes = chunks.size() < 2 ? 0 : chunks.size() * images::kChunkBytes;  // at most
  const uint64_t threads = std::min<uint64_t>({streams_.size(), std::max(std::thread::hardware_concurrency(), 1u),
                                               kMostThreads, std::max<uint64_t>(bytes / kWorthAThread, 1)});
  std::vector<std::future<void>> others;
  for (uint64_t i = 1; i < threads; ++i) others.push_back(begin_aside(work));
  work();
  for (auto& other : others) other.get();
}

namespace {

void add_place(PageRun& run, uint64_t checksum, const StoredPage& place) {
  run.add_checksums(checksum);
  run.add_chunk_streams(place.stream);
  run.add_chunk_offsets(place.offset);
  run.add_chunk_stored(place.stored);
}

}  // namespace

std::vector<PageRun> PageStreams::write(const std::vector<Extent>& extents, const Read& read) {
  std::vector<PageRun> runs;
  std::vector<Chunk> chunks;
  std::vector<std::vector<Segment>> stored;
  const auto is_continued = [](const PageRun& run, const Segment& next) {
    if (run.source() != next.source || run.start() + run.bytes() != next.start) return false;
    if (next.source == PageRun::STREAMS) return run.bytes() % images::kChunkBytes == 0;  // its last chunk is whole
    return next.source == PageRun::ZERO ||
           (run.checksums(0) == next.checksum && run.chunk_streams(0) == next.place.stream &&
            run.chunk_offsets(0) == next.place.offset);
  };
  const auto flush = [&] {
    write_chunks(chunks, read, stored);
    for (size_t i = 0; i < chunks.size(); ++i)
      for (const Segment& segment : stored[i]) {
        const bool begins = segment.start == chunks[i].extent->start;  // a run lies in one mapping
        const bool continues = !begins && !runs.empty() && is_continued(runs.back(), segment);
        PageRun& run = continues ? runs.back() : runs.emplace_back();
        if (!continues) {
          run.set_source(segment.source), run.set_start(segment.start);
          if (segment.source == PageRun::STREAMS) run.set_chunk_bytes(images::kChunkBytes);
          if (segment.source == PageRun::REPEATED)
            run.set_chunk_bytes(kPage), add_place(run, segment.checksum, segment.place);
        }
        run.set_bytes(run.bytes() + segment.bytes);
        if (segment.source == PageRun::STREAMS) add_place(run, segment.checksum, segment.place);
      }
    chunks.clear();
  };
  for (const Extent& extent : extents)
    for (uint64_t done = 0; done < extent.bytes; done += images::kChunkBytes) {
      chunks.push_back({&extent, extent.start + done, std::min<uint64_t>(images::kChunkBytes, extent.bytes - done)});
      if (chunks.size() == kChunksAtOnce) flush();
    }
  if (!chunks.empty()) flush();
  return runs;
}

void PageStreams::finish(image::Inventory& inventory) {
  for (const Stream& stream : streams_) {
    writer_.add_pages(stream.name, stream.fd.get());
    inventory.add_streams(stream.name);
  }
}

}  // namespace mcr::mem
