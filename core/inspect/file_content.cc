#include "core/inspect/file_content.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/kinds/build_id.h"
#include "core/sys/file.h"
#include "core/sys/regular_file.h"

namespace mcr::inspect {
namespace {

constexpr uint64_t kPage = 4096, kNoEnd = UINT64_MAX;
constexpr char kDamaged[] = "the image is damaged: use another copy";

class Zeros : public BackingContent {
 public:
  Extent extent_at(uint64_t) const override { return {kNoEnd, Source::zeros}; }
  void read(uint64_t, std::span<std::byte> out) const override { std::ranges::fill(out, std::byte{0}); }
};

class Missing : public BackingContent {
 public:
  explicit Missing(std::string why) : why_(std::move(why)) {}
  Extent extent_at(uint64_t) const override { return {kNoEnd, Source::missing}; }
  void read(uint64_t, std::span<std::byte>) const override { throw Error(Fault::internal, why_); }
  std::string why_missing() const override { return why_; }

 private:
  std::string why_;
};

class Bytes : public BackingContent {
 public:
  explicit Bytes(std::span<const std::byte> bytes) : bytes_(bytes) {}
  Extent extent_at(uint64_t offset) const override {
    return offset < bytes_.size() ? Extent{bytes_.size(), Source::image} : Extent{kNoEnd, Source::zeros};
  }
  void read(uint64_t offset, std::span<std::byte> out) const override {
    std::ranges::fill(out, std::byte{0});
    if (offset >= bytes_.size()) return;
    std::memcpy(out.data(), bytes_.data() + offset, std::min<uint64_t>(out.size(), bytes_.size() - offset));
  }

 private:
  std::span<const std::byte> bytes_;
};

// A page that lies behind the end of the file as a whole is none (SIGBUS); the rest of the last page is zeros.
uint64_t whole_pages(uint64_t bytes) {
  return bytes > UINT64_MAX - kPage ? bytes : (bytes + kPage - 1) / kPage * kPage;
}

class HostFile : public BackingContent {
 public:
  HostFile(UniqueFd fd, std::string path, uint64_t size) : fd_(std::move(fd)), path_(std::move(path)), size_(size) {}
  Extent extent_at(uint64_t offset) const override {
    return offset < whole_pages(size_) ? Extent{whole_pages(size_), Source::file} : Extent{kNoEnd, Source::missing};
  }
  void read(uint64_t offset, std::span<std::byte> out) const override {
    std::ranges::fill(out, std::byte{0});
    for (size_t done = 0; done < out.size() && offset + done < size_;) {
      const size_t wanted = std::min<uint64_t>(out.size() - done, size_ - offset - done);
      const size_t n = sys::pread_some(fd_.get(), out.data() + done, wanted, offset + done);
      if (n == 0) throw Error(Fault::system, fmt::format("{} became shorter while it was read", path_));
      done += n;
    }
  }

 private:
  UniqueFd fd_;
  std::string path_;
  uint64_t size_;
};

class GhostFile : public BackingContent {
 public:
  GhostFile(const images::ImageReader& reader, const image::Ghost& ghost)
      : ghost_(ghost), content_(reader.pages(ghost.content_file())) {}

  Extent extent_at(uint64_t offset) const override {
    const uint64_t end = whole_pages(ghost_.size());
    if (offset >= end) return {kNoEnd, Source::missing};
    const auto next = extent_behind(offset);
    if (next == ghost_.extents().end()) return {end, Source::zeros};
    if (next->file_offset() > offset) return {next->file_offset(), Source::zeros};
    return {next->file_offset() + next->bytes(), Source::image};
  }
  void read(uint64_t offset, std::span<std::byte> out) const override {
    std::ranges::fill(out, std::byte{0});
    const auto extent = extent_behind(offset);
    if (extent == ghost_.extents().end() || extent->file_offset() > offset) return;
    for (size_t done = 0; done < out.size();) {
      const uint64_t at = offset - extent->file_offset() + done;
      if (at >= extent->bytes()) return;
      const auto chunk = chunk_of(*extent, at / extent->chunk_bytes());
      const uint64_t skipped = at % extent->chunk_bytes();
      const size_t n = std::min<uint64_t>(out.size() - done, chunk.size() - skipped);
      std::memcpy(out.data() + done, chunk.data() + skipped, n);
      done += n;
    }
  }

 private:
  using Extents = google::protobuf::RepeatedPtrField<image::GhostExtent>;
  // The first that does not end before `offset`. They are in order, as the image's records have been checked.
  Extents::const_iterator extent_behind(uint64_t offset) const {
    return std::ranges::partition_point(
        ghost_.extents(), [&](const image::GhostExtent& e) { return e.file_offset() + e.bytes() <= offset; });
  }

  std::span<const std::byte> chunk_of(const image::GhostExtent& extent, uint64_t index) const {
    const uint64_t begin = index * extent.chunk_bytes(), offset = extent.offset() + begin;
    const size_t bytes = std::min<uint64_t>(extent.chunk_bytes(), extent.bytes() - begin);
    if (offset == chunk_offset_ && bytes == chunk_.size()) return chunk_;
    chunk_offset_ = 0;
    chunk_.resize(bytes);
    if (sys::pread_whole(content_.get(), chunk_.data(), bytes, offset) != bytes)
      throw Error(Fault::image, fmt::format("{} is too short", ghost_.content_file()), kDamaged);
    if (images::checksum_of(chunk_.data(), bytes) != extent.checksums(static_cast<int>(index)))
      throw Error(Fault::image,
                  fmt::format("{} at offset {}: checksum of {} bytes differs", ghost_.content_file(), offset, bytes),
                  kDamaged);
    chunk_offset_ = offset;
    return chunk_;
  }

  const image::Ghost& ghost_;
  images::PageFile content_;
  mutable std::vector<std::byte> chunk_;  // the last that was read, and where it lies
  mutable uint64_t chunk_offset_ = 0;
};

// The content of one shared object, out of the runs of the process that stores it.
class SharedRuns : public BackingContent {
 public:
  SharedRuns(const SavedTree& tree, const tree::ProcessImage& owner, uint32_t shared, uint64_t size)
      : tree_(tree), owner_{owner.core.pid(), owner.map.pages_file()}, size_(size) {
    for (const image::PageRun& run : owner.runs)
      if (run.shared() == shared) runs_.push_back(&run);
    std::ranges::sort(runs_, {}, [](const image::PageRun* run) { return run->start(); });
    for (size_t i = 1; i < runs_.size(); ++i)
      if (runs_[i]->start() - runs_[i - 1]->start() < runs_[i - 1]->bytes())
        throw Error(Fault::image,
                    fmt::format("mm-{}.img: run of pages at {:#x} of shared memory {} overlaps the one before",
                                owner_.pid, runs_[i]->start(), shared),
                    kDamaged);
  }

  Extent extent_at(uint64_t offset) const override {
    if (offset >= size_) return {kNoEnd, Source::missing};
    const auto next = run_behind(offset);
    if (next == runs_.end()) return {size_, Source::zeros};
    if ((*next)->start() > offset) return {(*next)->start(), Source::zeros};
    const bool is_zero = (*next)->source() == image::PageRun::ZERO;
    return {(*next)->start() + (*next)->bytes(), is_zero ? Source::zeros : Source::image};
  }
  void read(uint64_t offset, std::span<std::byte> out) const override {
    const auto run = run_behind(offset);
    std::ranges::fill(out, std::byte{0});
    if (run != runs_.end() && (*run)->start() <= offset) tree_.content().read(owner_, **run, offset, out);
  }

 private:
  std::vector<const image::PageRun*>::const_iterator run_behind(uint64_t offset) const {
    return std::ranges::partition_point(
        runs_, [&](const image::PageRun* run) { return run->start() + run->bytes() <= offset; });
  }

  const SavedTree& tree_;
  images::MemoryOwner owner_;
  uint64_t size_;
  std::vector<const image::PageRun*> runs_;
};

std::string difference_of(const struct stat& now, const image::RegularFile& then, int fd) {
  if (static_cast<uint64_t>(now.st_size) != then.size())
    return fmt::format("has {} bytes, had {} at the dump", now.st_size, then.size());
  if (!then.build_id().empty()) {
    const std::string id = kinds::read_build_id(fd);
    return id == then.build_id() ? "" : fmt::format("has build-id {}, had {} at the dump", id, then.build_id());
  }
  const bool is_older = now.st_mtim.tv_sec * 1'000'000'000 + now.st_mtim.tv_nsec == then.mtime_ns();
  return is_older ? "" : "was changed after the dump";
}

std::unique_ptr<BackingContent> host_file(const SavedTree& tree, const image::RegularFile& file) {
  const std::string& path = file.path();
  try {
    // What stands there now may be a device: to open one may do something, to find its place does not.
    const UniqueFd place = tree.files().open_named(path, O_PATH);
    auto fd = sys::reopen_regular(place.get());
    if (!fd) return missing_content(fmt::format("{} cannot be read, or is no plain file any more", path));
    const struct stat now = sys::stat_fd(fd->get());
    if (const std::string difference = difference_of(now, file, fd->get()); !difference.empty())
      return missing_content(fmt::format("{} {}", path, difference));
    return std::make_unique<HostFile>(*std::move(fd), path, file.size());
  } catch (const Error& error) {
    return missing_content(fmt::format("{} cannot be read: {}", path, error.reason()));
  }
}

std::unique_ptr<BackingContent> ghost_content(const SavedTree& tree, uint32_t id, const std::string& what) {
  const image::Ghost* ghost = tree.files().find_ghost(id);
  if (!ghost || !S_ISREG(ghost->mode()))
    throw Error(Fault::image, fmt::format("files.img: {} has no content", what), kDamaged);
  return std::make_unique<GhostFile>(tree.reader(), *ghost);
}

}  // namespace

std::unique_ptr<BackingContent> zero_content() {
  return std::make_unique<Zeros>();
}

std::unique_ptr<BackingContent> missing_content(std::string why) {
  return std::make_unique<Missing>(std::move(why));
}

std::unique_ptr<BackingContent> byte_content(std::span<const std::byte> bytes) {
  return std::make_unique<Bytes>(bytes);
}

std::unique_ptr<BackingContent> file_content(const SavedTree& tree, uint32_t file) {
  const image::FileObject& object = tree.files().object(file);
  image::RegularFile regular;
  image::MemfdFile memfd;
  image::CharDevice device;
  const std::string what = fmt::format("object {}", file);
  if (object.body().UnpackTo(&regular))
    return regular.deleted() ? ghost_content(tree, regular.ghost(), what) : host_file(tree, regular);
  if (object.body().UnpackTo(&memfd)) return ghost_content(tree, memfd.ghost(), what);
  constexpr uint32_t kMemory = 1, kZero = 5;  // /dev/zero; null(4)
  if (object.body().UnpackTo(&device) && device.major() == kMemory && device.minor() == kZero) return zero_content();
  return missing_content(fmt::format("the memory of what is of kind {} is in no image", object.kind()));
}

std::unique_ptr<BackingContent> segment_content(const SavedTree& tree, int32_t segment) {
  return ghost_content(tree, tree.files().segments().segment(segment).ghost(), fmt::format("segment {}", segment));
}

std::unique_ptr<BackingContent> shared_content(const SavedTree& tree, uint32_t shared) {
  for (const tree::ProcessImage& process : tree.processes())
    for (const image::SharedMemory& object : process.shared)
      if (object.id() == shared) return std::make_unique<SharedRuns>(tree, process, shared, object.size());
  throw Error(Fault::image, fmt::format("no process stores shared memory {}", shared), kDamaged);
}

}  // namespace mcr::inspect
