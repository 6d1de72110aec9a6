#include "images/page_content.h"

#include <lz4.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/base/page_buffer.h"
#include "core/sys/file.h"
#include "images/format.h"

namespace mcr::images {
namespace {

using image::PageRun;

constexpr size_t kPieceBytes = 64u << 10;  // stays in the cache between being read and its checksum

std::string text_of(const PageRun& run) {
  return fmt::format("the run at {:#x}{}", run.start(),
                     run.shared() ? fmt::format(" of shared memory {}", run.shared()) : "");
}

void read_fully(const PageFile& file, const std::string& name, uint64_t offset, std::span<std::byte> out) {
  for (size_t done = 0; done < out.size();) {
    const size_t n = file.read(offset + done, out.data() + done, out.size() - done);
    if (n == 0) throw_damaged(name, offset + done, "the file became shorter while it was read");
    done += n;
  }
}

[[noreturn]] void throw_differs(const std::string& name, uint64_t offset, uint64_t bytes) {
  throw_damaged(name, offset, fmt::format("checksum of {} bytes differs", bytes));
}

struct FreeHash {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

// Checks `bytes` bytes of the file at `offset` and copies those from `skipped` on.
void read_part(const PageFile& file, const std::string& name, uint64_t offset, uint64_t bytes, uint64_t checksum,
               uint64_t skipped, std::span<std::byte> out) {
  const std::unique_ptr<XXH3_state_t, FreeHash> hash(XXH3_createState());
  XXH3_64bits_reset(hash.get());
  PageBuffer buffer(std::min<uint64_t>(kPieceBytes, bytes));
  for (uint64_t at = 0; at < bytes;) {
    const auto piece = std::span(buffer).first(std::min<uint64_t>(buffer.size(), bytes - at));
    read_fully(file, name, offset + at, piece);
    XXH3_64bits_update(hash.get(), piece.data(), piece.size());
    const uint64_t first = std::max(at, skipped), last = std::min(at + piece.size(), skipped + out.size());
    if (first < last) std::memcpy(out.data() + (first - skipped), piece.data() + (first - at), last - first);
    at += piece.size();
  }
  if (XXH3_64bits_digest(hash.get()) != checksum) throw_differs(name, offset, bytes);
}

}  // namespace

PageContent::PageContent(const ImageReader& reader, const ParentPages* parent)
    : reader_(reader), parent_(parent), stream_sizes_(images::stream_sizes(reader)) {
  for (const std::string& name : reader.inventory().streams()) {
    stream_names_.push_back(name);
    streams_.push_back(reader.pages(name));
  }
}

PageContent::File PageContent::open(const std::string& pages_file) const {
  constexpr size_t kMostOpen = 16;
  const std::scoped_lock lock(mutex_);
  for (const auto& [name, file] : files_)
    if (name == pages_file) return file;
  if (files_.size() == kMostOpen) files_.pop_front();
  return files_.emplace_back(pages_file, std::make_shared<const PageFile>(reader_.pages(pages_file))).second;
}

void PageContent::check_shape(const MemoryOwner& owner, const PageRun& run) const {
  StoreSizes sizes;
  sizes.page = reader_.inventory().page_size() ? reader_.inventory().page_size() : 4096;
  sizes.streams = stream_sizes_;
  if (run.source() == PageRun::FILE || run.source() == PageRun::REPEATED)
    sizes.pages_file = open(owner.pages_file)->size();
  if (const std::string fault = run_fault(run, sizes); !fault.empty())
    throw Error(Fault::image, fmt::format("mm-{}.img: {} {}", owner.pid, text_of(run), fault),
                "the image is damaged or was made by a faulty program");
}

void PageContent::read(const MemoryOwner& owner, const PageRun& run, uint64_t start, std::span<std::byte> out) const {
  const uint64_t at = start - run.start();
  if (start < run.start() || at > run.bytes() || out.size() > run.bytes() - at)
    throw Error(Fault::internal, fmt::format("{} has no {} bytes at {:#x}", text_of(run), out.size(), start));
  if (out.empty()) return;
  switch (run.source()) {
    case PageRun::FILE:
      return read_file(owner, run, at, out);
    case PageRun::ZERO:
      std::memset(out.data(), 0, out.size());
      return;
    case PageRun::REPEATED:
      return read_repeated(owner, run, at, out);
    case PageRun::STREAMS:
      return read_streams(run, at, out);
    case PageRun::PARENT:
      if (parent_) return parent_->read(owner, run.shared(), start, out);
      throw Error(
          Fault::image,
          fmt::format("mm-{}.img: {} has its content in the parent image, and there is none", owner.pid, text_of(run)),
          "restore it with the images that it was made after");
    default:
      return check_shape(owner, run);  // throws
  }
}

void PageContent::read_file(const MemoryOwner& owner, const PageRun& run, uint64_t at, std::span<std::byte> out) const {
  if (chunks_of(run) == 0 || static_cast<uint64_t>(run.checksums_size()) != chunks_of(run)) check_shape(owner, run);
  const File file = open(owner.pages_file);
  for (size_t done = 0; done < out.size();) {
    const uint64_t index = (at + done) / run.chunk_bytes(), begin = index * run.chunk_bytes();
    const uint64_t bytes = std::min<uint64_t>(run.chunk_bytes(), run.bytes() - begin), skipped = at + done - begin;
    const auto part = out.subspan(done, std::min<uint64_t>(out.size() - done, bytes - skipped));
    const uint64_t checksum = run.checksums(static_cast<int>(index)), offset = run.offset() + begin;
    if (part.size() < bytes) {
      read_part(*file, owner.pages_file, offset, bytes, checksum, skipped, part);
    } else {
      read_fully(*file, owner.pages_file, offset, part);
      if (checksum_of(part.data(), part.size()) != checksum) throw_differs(owner.pages_file, offset, bytes);
    }
    done += part.size();
  }
}

namespace {

// Stored as it is, or as one LZ4 block.
void unpack(const std::string& name, const PageFile& file, uint64_t offset, uint32_t stored, uint64_t checksum,
            std::span<std::byte> out) {
  if (stored == out.size()) {
    read_fully(file, name, offset, out);
  } else {
    PageBuffer packed(stored);
    read_fully(file, name, offset, packed);
    const int n = LZ4_decompress_safe(reinterpret_cast<const char*>(packed.data()), reinterpret_cast<char*>(out.data()),
                                      static_cast<int>(stored), static_cast<int>(out.size()));
    if (n < 0 || static_cast<size_t>(n) != out.size())
      throw_damaged(name, offset, fmt::format("{} bytes are no LZ4 block of {}", stored, out.size()));
  }
  if (checksum_of(out.data(), out.size()) != checksum) throw_differs(name, offset, out.size());
}

}  // namespace

PageContent::Chunk PageContent::chunk_of(const PageRun& run, int index, size_t bytes) const {
  const uint32_t stream = run.chunk_streams(index), stored = run.chunk_stored(index);
  const uint64_t offset = run.chunk_offsets(index);
  if (stream >= stream_sizes_.size() || stored == 0 || stored > bytes || offset > stream_sizes_[stream] ||
      stored > stream_sizes_[stream] - offset || bytes > kChunkBytes)
    throw Error(Fault::image, fmt::format("{} has an impossible chunk {}", text_of(run), index),
                "the image is damaged or was made by a faulty program");
  return {stream_names_[stream], streams_[stream], offset, stored, bytes, run.checksums(index)};
}

void PageContent::copy_part(const Chunk& chunk, size_t skipped, std::span<std::byte> out) const {
  {
    const std::scoped_lock lock(mutex_);
    if (last_file_ == &chunk.file && last_offset_ == chunk.offset && last_checksum_ == chunk.checksum &&
        last_.size() == chunk.bytes) {
      std::memcpy(out.data(), last_.data() + skipped, out.size());
      return;
    }
  }
  PageBuffer whole(chunk.bytes);
  unpack(chunk.name, chunk.file, chunk.offset, chunk.stored, chunk.checksum, whole);
  std::memcpy(out.data(), whole.data() + skipped, out.size());
  const std::scoped_lock lock(mutex_);
  last_.swap(whole);
  last_file_ = &chunk.file, last_offset_ = chunk.offset, last_checksum_ = chunk.checksum;
}

void PageContent::read_streams(const PageRun& run, uint64_t at, std::span<std::byte> out) const {
  const auto chunks = static_cast<int>(std::min<uint64_t>(chunks_of(run), INT32_MAX));
  if (chunks == 0 || run.checksums_size() != chunks || run.chunk_streams_size() != chunks ||
      run.chunk_offsets_size() != chunks || run.chunk_stored_size() != chunks)
    throw Error(Fault::image, fmt::format("{} has the wrong number of chunks", text_of(run)),
                "the image is damaged or was made by a faulty program");
  for (size_t done = 0; done < out.size();) {
    const uint64_t index = (at + done) / run.chunk_bytes(), begin = index * run.chunk_bytes();
    const uint64_t bytes = std::min<uint64_t>(run.chunk_bytes(), run.bytes() - begin), skipped = at + done - begin;
    const auto part = out.subspan(done, std::min<uint64_t>(out.size() - done, bytes - skipped));
    const Chunk chunk = chunk_of(run, static_cast<int>(index), bytes);
    if (part.size() == bytes)
      unpack(chunk.name, chunk.file, chunk.offset, chunk.stored, chunk.checksum, part);
    else
      copy_part(chunk, skipped, part);
    done += part.size();
  }
}

void PageContent::read_repeated(const MemoryOwner& owner, const PageRun& run, uint64_t at,
                                std::span<std::byte> out) const {
  const size_t page = run.chunk_bytes();
  if (page == 0 || page > kChunkBytes || run.checksums_size() != 1 ||
      (is_in_stream(run) &&
       (run.chunk_streams_size() != 1 || run.chunk_offsets_size() != 1 || run.chunk_stored_size() != 1)))
    check_shape(owner, run);
  std::vector<std::byte> content(page);
  if (is_in_stream(run)) {
    const Chunk chunk = chunk_of(run, 0, page);
    unpack(chunk.name, chunk.file, chunk.offset, chunk.stored, chunk.checksum, content);
  } else {
    read_fully(*open(owner.pages_file), owner.pages_file, run.offset(), content);
    if (checksum_of(content.data(), page) != run.checksums(0)) throw_differs(owner.pages_file, run.offset(), page);
  }
  for (size_t done = 0; done < out.size();) {
    const size_t skipped = (at + done) % page, n = std::min(page - skipped, out.size() - done);
    std::memcpy(out.data() + done, content.data() + skipped, n);
    done += n;
  }
}

}  // namespace mcr::images
