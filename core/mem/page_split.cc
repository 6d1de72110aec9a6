#include "core/mem/page_split.h"

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/store.h"

namespace mcr::mem {
namespace {

using image::PageRun;
using Segments = PageSplit::Segments;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kMostCuts = 16 << 10;     // runs take memory: from here on nothing is cut out any more
constexpr uint32_t kPagesFile = UINT32_MAX;  // as the stream of a StoredPage

// Of a few words only, as all is compared with what is found by it: most pages never come again.
uint64_t key_of(std::span<const std::byte> page) {
  uint64_t key = 0;
  for (size_t at = 40; at < kPage; at += 520) {
    uint64_t word = 0;
    std::memcpy(&word, page.data() + at, sizeof word);
    key = (key ^ word) * 0x9e3779b97f4a7c15;
    key ^= key >> 32;
  }
  return key;
}

bool is_same(const StoredPage& a, const StoredPage& b) {
  return a.offset == b.offset && a.stream == b.stream && a.stored == b.stored;
}

// Of a stretch that is zeros, or repeats one page.
bool continues(const PageSplit::Segment& before, const PageSplit::Segment& next) {
  return before.source == next.source && is_same(before.place, next.place) && before.start + before.bytes == next.start;
}

}  // namespace

PageSplit::PageSplit(int pages_fd, SecondFile* second, ReadPage read)
    : pages_fd_(pages_fd), second_(second), read_(std::move(read)) {}

void PageSplit::expect(uint64_t bytes) {
  if (!dedup_) dedup_.emplace(bytes / kPage);
}

Segments PageSplit::cut(std::span<const std::byte> content, uint64_t start, const Known& known, const Keep& keep) {
  if (is_zero(content)) return {{PageRun::ZERO, start, content.size(), {}, 0}};
  Segments segments;
  uint64_t begin = 0;
  const auto keep_until = [&](uint64_t end) {
    if (begin == end) return;
    const auto part = content.subspan(begin, end - begin);
    const uint64_t checksum = images::checksum_of(part.data(), part.size());
    const StoredPage place = keep(part, begin);
    segments.push_back(
        {place.stream == kPagesFile ? PageRun::FILE : PageRun::STREAMS, start + begin, part.size(), place, checksum});
  };
  for (uint64_t at = 0; at < content.size() && cuts_ < kMostCuts; at += kPage) {
    const auto page = content.subspan(at, kPage);
    const auto found = is_zero(page) ? Segment{PageRun::ZERO, start + at, kPage, {}, 0} : known(page, at);
    if (!found) continue;
    keep_until(at);
    begin = at + kPage;
    if (!segments.empty() && continues(segments.back(), *found))
      segments.back().bytes += kPage;
    else
      segments.push_back(*found), ++cuts_;
  }
  keep_until(content.size());
  return segments;
}

Segments PageSplit::in_pages_file(std::span<const std::byte> content, uint64_t start, uint64_t offset, Sight& sight) {
  const auto known = [&](std::span<const std::byte> page, uint64_t at) -> std::optional<Segment> {
    const uint64_t key = key_of(page);
    const auto found = dedup_->find(key);
    if (!found || found->stored == 0) dedup_->note(key, {offset + at, kPagesFile, kPage});
    if (!found || found->stored == 0 || !is_stored(*found, page, sight)) return std::nullopt;
    return Segment{PageRun::REPEATED, start + at, kPage, *found, sight.checksum};
  };
  return cut(content, start, known, [&](std::span<const std::byte> part, uint64_t at) {
    return StoredPage{offset + at, kPagesFile, static_cast<uint32_t>(part.size())};
  });
}

// A page inside of a chunk of a stream cannot be named by itself. It is noted by its address, and stored alone when it
// comes again.
Segments PageSplit::to_second_file(std::span<const std::byte> content, uint64_t start, Sight& sight) {
  const auto known = [&](std::span<const std::byte> page, uint64_t at) -> std::optional<Segment> {
    const uint64_t key = key_of(page);
    const auto found = dedup_->find(key);
    if (!found) dedup_->note(key, {start + at, 0, 0});
    if (!found) return std::nullopt;
    if (found->stored == 0) return stored_alone(*found, key, page, start + at, sight);
    if (!is_stored(*found, page, sight)) return std::nullopt;
    return Segment{PageRun::REPEATED, start + at, kPage, *found, sight.checksum};
  };
  return cut(content, start, known, [&](std::span<const std::byte> part, uint64_t) { return second_->append(part); });
}

std::optional<PageSplit::Segment> PageSplit::stored_alone(const StoredPage& seen, uint64_t key,
                                                          std::span<const std::byte> page, uint64_t address,
                                                          Sight& sight) {
  sight.place = {};
  sight.content.resize(kPage);
  if (!read_(seen.offset, sight.content) || std::memcmp(sight.content.data(), page.data(), kPage) != 0)
    return std::nullopt;
  sight.place = second_->append(page);
  sight.checksum = images::checksum_of(page.data(), kPage);
  dedup_->note(key, sight.place);
  return Segment{PageRun::REPEATED, address, kPage, sight.place, sight.checksum};
}

bool PageSplit::is_stored(const StoredPage& place, std::span<const std::byte> page, Sight& sight) const {
  if (!is_same(sight.place, place)) {
    sight.place = {};
    sight.content.resize(kPage);
    const int fd = place.stream == kPagesFile ? pages_fd_ : second_->fd();
    // Not written yet, by the other thread?
    if (sys::pread_whole(fd, sight.content.data(), kPage, place.offset) != kPage) return false;
    sight.place = place;
    sight.checksum = images::checksum_of(sight.content.data(), kPage);
  }
  if (std::memcmp(sight.content.data(), page.data(), kPage) == 0) return true;
  sight.place = {};  // it may be on its way
  return false;
}

namespace {

bool is_stored_content(PageRun::Source source) {
  return source == PageRun::FILE || source == PageRun::STREAMS;
}

bool goes_on(const PageRun& run, const PageSplit::Segment& next) {
  if (run.source() != next.source || run.start() + run.bytes() != next.start) return false;
  if (is_stored_content(next.source) && run.bytes() % images::kChunkBytes != 0)
    return false;  // its last chunk is short
  switch (next.source) {
    case PageRun::FILE:
      return run.offset() + run.bytes() == next.place.offset;
    case PageRun::REPEATED:
      if (next.place.stream == kPagesFile) return run.chunk_streams_size() == 0 && run.offset() == next.place.offset;
      return run.chunk_streams_size() == 1 && run.chunk_streams(0) == next.place.stream &&
             run.chunk_offsets(0) == next.place.offset;
    default:
      return true;
  }
}

PageRun& begin_run(std::vector<PageRun>& runs, const PageSplit::Segment& segment) {
  PageRun& run = runs.emplace_back();
  run.set_source(segment.source);
  run.set_start(segment.start);
  if (segment.source == PageRun::ZERO) return run;
  run.set_chunk_bytes(segment.source == PageRun::REPEATED ? kPage : images::kChunkBytes);
  if (segment.place.stream == kPagesFile) run.set_offset(segment.place.offset);
  return run;
}

}  // namespace

void PageSplit::append(std::vector<PageRun>& runs, bool begins, const Segments& segments) {
  for (const Segment& segment : segments) {
    const bool continued = !begins && !runs.empty() && goes_on(runs.back(), segment);
    begins = false;
    PageRun& run = continued ? runs.back() : begin_run(runs, segment);
    run.set_bytes(run.bytes() + segment.bytes);
    if (segment.source == PageRun::ZERO || (continued && segment.source == PageRun::REPEATED)) continue;
    run.add_checksums(segment.checksum);
    if (segment.place.stream == kPagesFile) continue;
    run.add_chunk_streams(segment.place.stream);
    run.add_chunk_offsets(segment.place.offset);
    run.add_chunk_stored(segment.place.stored);
  }
}

}  // namespace mcr::mem
