#include "core/kinds/ghost_content.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "core/sys/memory_object.h"

namespace mcr::kinds {
namespace {

class ContentWriter {
 public:
  ContentWriter(int source, int content, image::Ghost& ghost, const Stored& stored)
      : source_(source), content_(content), ghost_(ghost), stored_(stored) {}

  void add_extent(uint64_t from, uint64_t to) {
    auto* extent = ghost_.add_extents();
    extent->set_file_offset(from);
    extent->set_offset(offset_);
    extent->set_chunk_bytes(images::kChunkBytes);
    for (uint64_t at = from; at < to;) {
      const size_t n = read_chunk(at, to);
      write_chunk(*extent, n);
      at += n;
    }
    extent->set_bytes(to - from);
    offset_ = (offset_ + 4095) / 4096 * 4096;
  }

  // hugetlbfs does not tell holes from data (lseek(2), SEEK_DATA): what is zero is taken for a hole.
  void add_all_but_zeros() {
    image::GhostExtent* extent = nullptr;
    for (uint64_t at = 0; at < ghost_.size();) {
      const size_t n = read_chunk(at, ghost_.size());
      const bool is_zero = std::all_of(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(n),
                                       [](std::byte b) { return b == std::byte{0}; });
      if (is_zero) extent = nullptr;
      if (!is_zero && !extent) {
        extent = ghost_.add_extents();
        extent->set_file_offset(at);
        extent->set_offset(offset_);
        extent->set_chunk_bytes(images::kChunkBytes);
      }
      if (extent) {
        write_chunk(*extent, n);
        extent->set_bytes(extent->bytes() + n);
      }
      at += n;
    }
  }

  uint64_t end() const { return offset_; }

 private:
  size_t read_chunk(uint64_t at, uint64_t to) {
    const size_t wanted = std::min<uint64_t>(buffer_.size(), to - at);
    size_t n = 0;
    while (n < wanted) {
      const size_t more = sys::pread_some(source_, buffer_.data() + n, wanted - n, at + n);
      if (more == 0) throw Error(Fault::system, fmt::format("the file ended at {} of {} bytes", at + n, ghost_.size()));
      n += more;
    }
    return n;
  }

  void write_chunk(image::GhostExtent& extent, size_t n) {
    sys::pwrite_fully(content_, buffer_.data(), n, offset_);
    extent.add_checksums(images::checksum_of(buffer_.data(), n));
    offset_ += n;
    if (offset_ - told_ < images::kWindowBytes) return;
    stored_(offset_);
    told_ = offset_;
  }

  int source_, content_;
  image::Ghost& ghost_;
  const Stored& stored_;
  uint64_t told_ = images::kPageFileHeader;
  uint64_t offset_ = images::kPageFileHeader;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(images::kChunkBytes);
};

}  // namespace

void store_content(int source, int content, image::Ghost& ghost, const Stored& stored) {
  ContentWriter writer(source, content, ghost, stored);
  if (sys::is_on_hugetlbfs(source)) {
    writer.add_all_but_zeros();
  } else {
    for (uint64_t at = 0; at < ghost.size();) {
      const auto data = sys::try_seek(source, static_cast<int64_t>(at), SEEK_DATA);
      if (!data || *data >= ghost.size()) break;
      at = std::min(ghost.size(), sys::try_seek(source, static_cast<int64_t>(*data), SEEK_HOLE).value_or(ghost.size()));
      writer.add_extent(*data, at);
    }
  }
  sys::truncate_fd(content, (writer.end() + 4095) / 4096 * 4096);
}

void read_content(const images::ImageReader& reader, const image::Ghost& ghost, const TakePiece& take) {
  const images::PageFile content = reader.pages(ghost.content_file());
  std::vector<std::byte> buffer;
  for (const auto& extent : ghost.extents()) {
    buffer.resize(extent.chunk_bytes());
    if (extent.file_offset() > ghost.size() || extent.bytes() > ghost.size() - extent.file_offset())
      throw Error(Fault::image, fmt::format("{}: an extent lies outside of its file", ghost.content_file()),
                  "the image is damaged: use another copy");
    int chunk = 0;
    for (uint64_t done = 0; done < extent.bytes(); ++chunk) {
      const size_t n = std::min<uint64_t>(buffer.size(), extent.bytes() - done);
      if (content.read(extent.offset() + done, buffer.data(), n) != n || chunk >= extent.checksums_size() ||
          images::checksum_of(buffer.data(), n) != extent.checksums(chunk))
        throw Error(Fault::image,
                    fmt::format("{} at offset {}: checksum of {} bytes differs", ghost.content_file(),
                                extent.offset() + done, n),
                    "the image is damaged: use another copy");
      take(std::span(buffer.data(), n), extent.file_offset() + done);
      done += n;
    }
  }
}

}  // namespace mcr::kinds
