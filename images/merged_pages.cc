#include "images/merged_pages.h"

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/base/page_buffer.h"
#include "core/sys/file.h"

namespace mcr::images {
namespace {

using image::PageRun;

constexpr size_t kMostSeen = 4u << 20;  // pages; beyond that, ones that came before may be stored again

bool is_zero(std::span<const std::byte> bytes) {
  return bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace

MergedPages::MergedPages(UniqueFd fd, uint64_t page_size)
    : fd_(std::move(fd)), page_size_(page_size), end_(kPageFileHeader) {}
MergedPages::~MergedPages() = default;

void MergedPages::begin(uint32_t shared) {
  shared_ = shared;
  begins_ = true;
}

std::vector<PageRun> MergedPages::take_runs() {
  return std::exchange(runs_, {});
}
void MergedPages::forget() {
  seen_.clear();
}
uint64_t MergedPages::stored() const {
  return end_ - kPageFileHeader;
}
uint64_t MergedPages::repeated() const {
  return repeated_;
}

PageRun& MergedPages::fresh_run(PageRun::Source source, uint64_t start, uint64_t bytes) {
  PageRun& run = runs_.emplace_back();
  run.set_source(source);
  run.set_shared(shared_);
  run.set_start(start);
  run.set_bytes(bytes);
  begins_ = false;
  return run;
}

PageRun* MergedPages::last(PageRun::Source source, uint64_t start) {
  if (begins_ || runs_.empty()) return nullptr;
  PageRun& run = runs_.back();
  return run.source() == source && run.start() + run.bytes() == start ? &run : nullptr;
}

void MergedPages::add_zeros(uint64_t start, uint64_t bytes) {
  if (PageRun* run = last(PageRun::ZERO, start))
    run->set_bytes(run->bytes() + bytes);
  else
    fresh_run(PageRun::ZERO, start, bytes);
}

void MergedPages::add_repeated(uint64_t start, uint64_t bytes, uint64_t offset, uint64_t checksum) {
  repeated_ += bytes;
  if (PageRun* before = last(PageRun::REPEATED, start); before && before->offset() == offset)
    return before->set_bytes(before->bytes() + bytes);
  PageRun& run = fresh_run(PageRun::REPEATED, start, bytes);
  run.set_offset(offset);
  run.set_chunk_bytes(static_cast<uint32_t>(page_size_));
  run.add_checksums(checksum);
}

// A run grows by whole chunks only, so that its checksums can be made of what is at hand.
void MergedPages::add_data(uint64_t start, std::span<const std::byte> data) {
  sys::pwrite_fully(fd_.get(), data.data(), data.size(), end_);
  PageRun* run = last(PageRun::FILE, start);
  if (run && run->bytes() % kChunkBytes == 0 && run->offset() + run->bytes() == end_) {
    run->set_bytes(run->bytes() + data.size());
  } else {
    run = &fresh_run(PageRun::FILE, start, data.size());
    run->set_offset(end_);
    run->set_chunk_bytes(kChunkBytes);
  }
  run->add_checksums(checksum_of(data.data(), data.size()));
  end_ += data.size();
}

std::optional<uint64_t> MergedPages::find(uint64_t hash, std::span<const std::byte> page) const {
  const auto seen = seen_.find(hash);
  if (seen == seen_.end()) return std::nullopt;
  std::vector<std::byte> stored(page.size());
  if (sys::pread_whole(fd_.get(), stored.data(), stored.size(), seen->second) != stored.size()) return std::nullopt;
  return std::ranges::equal(stored, page) ? std::optional(seen->second) : std::nullopt;
}

void MergedPages::note(uint64_t hash, uint64_t offset) {
  if (seen_.size() < kMostSeen) seen_.emplace(hash, offset);
}

// At most kChunkBytes, whole pages.
void MergedPages::split(uint64_t start, std::span<const std::byte> data) {
  size_t begin = 0;  // of what is to be stored and is not yet
  const auto store = [&](size_t end) {
    if (begin < end) add_data(start + begin, data.subspan(begin, end - begin));
  };
  for (size_t at = 0; at < data.size(); at += page_size_) {
    const auto page = data.subspan(at, page_size_);
    const bool zero = is_zero(page);
    const uint64_t hash = zero ? 0 : checksum_of(page.data(), page.size());
    const auto same = zero ? std::nullopt : find(hash, page);
    if (!zero && !same) {
      note(hash, end_ + (at - begin));
      continue;
    }
    store(at);
    begin = at + page_size_;
    if (zero)
      add_zeros(start + at, page_size_);
    else
      add_repeated(start + at, page_size_, *same, hash);
  }
  store(data.size());
}

void MergedPages::append(const PageContent& content, const MemoryOwner& owner, const PageRun& run, uint64_t start,
                         uint64_t bytes) {
  content.check_shape(owner, run);
  if (start % page_size_ != 0 || bytes % page_size_ != 0 || (start - run.start()) % page_size_ != 0)
    throw Error(Fault::image, fmt::format("mm-{}.img: the run at {:#x} is not of whole pages", owner.pid, run.start()),
                "the image is damaged or was made by a faulty program");
  if (run.source() == PageRun::ZERO) return add_zeros(start, bytes);
  PageBuffer buffer(std::min<uint64_t>(kChunkBytes, bytes));
  if (run.source() == PageRun::REPEATED) {  // however many they are
    const auto page = std::span(buffer).first(page_size_);
    content.read(owner, run, start, page);
    const uint64_t hash = checksum_of(page.data(), page.size());
    if (is_zero(page)) return add_zeros(start, bytes);
    if (const auto same = find(hash, page)) return add_repeated(start, bytes, *same, hash);
    note(hash, end_);
    const uint64_t offset = end_;
    add_data(start, page);
    if (bytes > page_size_) add_repeated(start + page_size_, bytes - page_size_, offset, hash);
    return;
  }
  for (uint64_t done = 0; done < bytes; done += buffer.size()) {
    const auto piece = std::span(buffer).first(std::min<uint64_t>(buffer.size(), bytes - done));
    content.read(owner, run, start + done, piece);
    split(start + done, piece);
  }
}

}  // namespace mcr::images
