#include "images/page_extents.h"

#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <memory>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/format.h"

namespace mcr::images {
namespace {

constexpr uint64_t kWorthASeek = 1 << 20;
constexpr size_t kReadBytes = 64u << 10;  // stays in the cache between read and checksum

struct FreeHash {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

class PageFileCheck {
 public:
  PageFileCheck(const PageFile& file, std::string name) : file_(file), name_(std::move(name)) {}
  void check_extent(const PageExtent& extent);
  void check_zeros(uint64_t from, uint64_t to);

 private:
  void check_data(uint64_t from, uint64_t to);
  // Hands the bytes [from, to) of the file to `use(data, size, offset)`, piece by piece.
  template <typename Use>
  void read_range(uint64_t from, uint64_t to, Use use);

  const PageFile& file_;
  std::string name_;
  std::vector<char> buffer_ = std::vector<char>(kReadBytes);
  std::unique_ptr<XXH3_state_t, FreeHash> hash_{XXH3_createState()};
};

template <typename Use>
void PageFileCheck::read_range(uint64_t from, uint64_t to, Use use) {
  while (from < to) {
    const size_t wanted = std::min<uint64_t>(to - from, buffer_.size());
    const size_t n = file_.read(from, buffer_.data(), wanted);
    if (n == 0) throw_damaged(name_, from, "the file became shorter while it was read");
    use(buffer_.data(), n, from);
    from += n;
  }
}

void PageFileCheck::check_extent(const PageExtent& extent) {
  uint64_t at = extent.offset;
  const uint64_t end = extent.offset + extent.bytes;
  for (const uint64_t stored : extent.checksums) {
    const uint64_t chunk_end = std::min<uint64_t>(at + extent.chunk_bytes, end);
    XXH3_64bits_reset(hash_.get());
    read_range(at, chunk_end, [&](const char* data, size_t n, uint64_t) { XXH3_64bits_update(hash_.get(), data, n); });
    const uint64_t computed = XXH3_64bits_digest(hash_.get());
    if (computed != stored)
      throw_damaged(name_, at,
                    fmt::format("checksum differs within {} bytes of {} ({:016x}, computed {:016x})", chunk_end - at,
                                extent.owner, stored, computed));
    at = chunk_end;
  }
}

// A file may be far larger than what it takes: holes need not be read. Of one on another host all is a hole that was
// not brought.
void PageFileCheck::check_zeros(uint64_t from, uint64_t to) {
  while (to > from && to - from >= kWorthASeek) {
    const auto data = sys::try_seek(file_.get(), static_cast<int64_t>(from), SEEK_DATA);
    if (!data || *data >= to) return;
    const uint64_t end = sys::try_seek(file_.get(), static_cast<int64_t>(*data), SEEK_HOLE).value_or(to);
    check_data(*data, std::min(end, to));
    from = end;
  }
  if (from < to) check_data(from, to);
}

void PageFileCheck::check_data(uint64_t from, uint64_t to) {
  read_range(from, to, [&](const char* data, size_t n, uint64_t offset) {
    const char* bad = std::find_if(data, data + n, [](char c) { return c != 0; });
    if (bad != data + n)
      throw_damaged(name_, offset + static_cast<uint64_t>(bad - data), "a byte that belongs to no run is not zero");
  });
}

// The numbers come from a file: every sum is checked before it is formed.
void check_shape(const std::string& name, uint64_t size, const PageExtent& extent) {
  if (extent.bytes == 0 || extent.offset < kPageFileHeader || extent.offset > size ||
      extent.bytes > size - extent.offset)
    throw_damaged(name, std::min(extent.offset, size),
                  fmt::format("{} has {} bytes at {}, the file {}", extent.owner, extent.bytes, extent.offset, size));
  const uint64_t chunks = extent.chunk_bytes ? (extent.bytes - 1) / extent.chunk_bytes + 1 : 0;
  if (chunks == 0 || chunks != extent.checksums.size())
    throw_damaged(name, extent.offset,
                  fmt::format("{} has {} checksums for {} bytes in chunks of {}", extent.owner, extent.checksums.size(),
                              extent.bytes, extent.chunk_bytes));
}

}  // namespace

void check_page_file(const PageFile& file, const std::string& name, uint64_t size, std::vector<PageExtent> extents) {
  std::sort(extents.begin(), extents.end(),
            [](const PageExtent& a, const PageExtent& b) { return a.offset < b.offset; });
  PageFileCheck check(file, name);
  uint64_t at = kPageFileHeader, owned = kPageFileHeader;
  for (const PageExtent& extent : extents) {
    check_shape(name, size, extent);
    const uint64_t end = extent.offset + extent.bytes;
    if (!extent.may_overlap) {
      if (extent.offset < owned) throw_damaged(name, extent.offset, fmt::format("{} overlaps another", extent.owner));
      owned = end;
    }
    if (extent.offset > at) check.check_zeros(at, extent.offset);
    check.check_extent(extent);
    at = std::max(at, end);
  }
  check.check_zeros(at, size);
}

void check_gaps(const PageFile& file, const std::string& name, uint64_t size,
                std::vector<std::pair<uint64_t, uint64_t>> stretches) {
  std::sort(stretches.begin(), stretches.end());
  PageFileCheck check(file, name);
  uint64_t at = kPageFileHeader;
  for (const auto& [offset, bytes] : stretches) {
    if (offset > at) check.check_zeros(at, offset);
    at = std::max(at, offset + bytes);
  }
  check.check_zeros(at, size);
}

void check_stream(const std::string& name, uint64_t size, std::vector<StreamPlace> places) {
  std::ranges::sort(places);
  places.erase(std::unique(places.begin(), places.end()), places.end());
  uint64_t at = kPageFileHeader;
  for (const auto& [offset, bytes] : places) {
    if (offset > at) throw_damaged(name, at, fmt::format("{} bytes belong to no chunk", offset - at));
    if (offset < at) throw_damaged(name, offset, "two chunks share a part of their bytes");
    if (offset > size || bytes > size - offset) throw_damaged(name, size, "a chunk reaches beyond the end");
    at = offset + bytes;
  }
  if (at != size) throw_damaged(name, at, fmt::format("{} bytes belong to no chunk", size - at));
}

}  // namespace mcr::images
