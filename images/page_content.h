// The content of pages of an image, wherever a PageRun says that it lies: in the pages file, in streams, in the parent
// image, or nowhere, as it is all zeros. Every byte that is handed out has been checked against its checksum.
// Thread-safe: several threads may read at once. Errors: Fault::image with file and offset.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "core/base/page_buffer.h"
#include "images/page_file.h"
#include "images/proto/mm.pb.h"
#include "images/run_shape.h"
#include "images/store.h"

namespace mcr::images {

struct MemoryOwner {
  int32_t pid = 0;         // of the mm-PID.img in which the runs are
  std::string pages_file;  // MemoryMap.pages_file of it
};

// Where runs of source PARENT have their content. Thread-safe.
class ParentPages {
 public:
  virtual ~ParentPages() = default;
  // Fills `out` with what the parent image has from `start` on: an address of the process, or, of the shared memory
  // that the process calls `shared`, an offset. Throws Fault::image when it has no such pages.
  virtual void read(const MemoryOwner& owner, uint32_t shared, uint64_t start, std::span<std::byte> out) const = 0;
};

class PageContent {
 public:
  // `reader` and `parent` must outlive it. Without a parent a run of source PARENT is an error when it is read.
  explicit PageContent(const ImageReader& reader, const ParentPages* parent = nullptr);

  // Fills `out` from the part of the run that begins at `start` (as in the run: an address, or an offset).
  void read(const MemoryOwner& owner, const image::PageRun& run, uint64_t start, std::span<std::byte> out) const;
  // Throws when the numbers of the run do not fit; reads nothing of it.
  void check_shape(const MemoryOwner& owner, const image::PageRun& run) const;

  const std::vector<uint64_t>& stream_sizes() const { return stream_sizes_; }  // bytes, by number
  const std::string& stream_name(uint32_t stream) const { return stream_names_.at(stream); }
  const ImageReader& reader() const { return reader_; }

 private:
  using File = std::shared_ptr<const PageFile>;
  File open(const std::string& pages_file) const;  // the last few stay open

  struct Chunk {  // as it is stored
    const std::string& name;
    const PageFile& file;
    uint64_t offset;
    uint32_t stored;
    size_t bytes;
    uint64_t checksum;
  };
  void read_file(const MemoryOwner& owner, const image::PageRun& run, uint64_t at, std::span<std::byte> out) const;
  void read_repeated(const MemoryOwner& owner, const image::PageRun& run, uint64_t at, std::span<std::byte> out) const;
  void read_streams(const image::PageRun& run, uint64_t at, std::span<std::byte> out) const;
  Chunk chunk_of(const image::PageRun& run, int index, size_t bytes) const;
  void copy_part(const Chunk& chunk, size_t skipped, std::span<std::byte> out) const;

  const ImageReader& reader_;
  const ParentPages* parent_;
  std::vector<std::string> stream_names_;
  std::vector<uint64_t> stream_sizes_;
  std::vector<PageFile> streams_;
  mutable std::mutex mutex_;  // of what follows
  mutable std::deque<std::pair<std::string, File>> files_;
  mutable PageBuffer last_;  // the chunk that was read in part most recently, and where it lies
  mutable const PageFile* last_file_ = nullptr;
  mutable uint64_t last_offset_ = 0, last_checksum_ = 0;
};

}  // namespace mcr::images
