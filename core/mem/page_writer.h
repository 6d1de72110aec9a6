// Moves the content of pages into a pages file: by the parasite, which writes straight from the program's memory,
// while we compute checksums of what it wrote before and store pages from the other end of its memory in a second file;
// by us, where the program itself must not or cannot.
#pragma once

#include <functional>
#include <vector>

#include "core/base/page_buffer.h"
#include "core/inject/channel.h"
#include "core/mem/chunk_queue.h"
#include "core/mem/page_room.h"
#include "core/mem/page_source.h"
#include "core/mem/page_split.h"
#include "core/mem/page_streams.h"
#include "images/proto/mm.pb.h"

namespace mcr::mem {

struct OtherFiles {                // besides the pages file; each may be null
  PageStreams* streams = nullptr;  // to which everything goes instead
  SecondFile* second = nullptr;
};

class PageWriter {
 public:
  // by_parasite: false when the program has a file size limit (it would get SIGXFSZ) or must not do it otherwise.
  PageWriter(inject::Channel& channel, const trace::RemoteMemory& memory, int pages_fd, uint64_t offset,
             bool by_parasite, const OtherFiles& others = {});

  // By us, with no parasite: any thread.
  PageWriter(const trace::RemoteMemory& memory, int pages_fd, uint64_t offset, const OtherFiles& others = {});

  // What was copied before: any thread. `held` outlives it.
  PageWriter(const HeldPages& held, int pages_fd, uint64_t offset);

  // Called when everything before `end` in the file is as it stays, every 16 MiB at the latest.
  void on_stored(std::function<void(uint64_t end)> stored) { stored_ = std::move(stored); }
  // Stores these stretches one behind the other; one PageRun or more each.
  std::vector<mcr::image::PageRun> write(const std::vector<PageSource>& sources);
  // Stores the data of a file (shared memory through /proc/PID/map_files): one PageRun a stretch of data.
  std::vector<mcr::image::PageRun> write_file(int fd, uint32_t shared_id, uint64_t size);
  uint64_t offset() const { return offset_; }
  uint64_t pages_written() const { return pages_; }

 private:
  using Chunk = MemoryChunk;
  using Segments = PageSplit::Segments;
  struct Worker {
    PageBuffer buffer;
    PageSplit::Sight sight;
  };
  struct Taken {  // from the end
    Chunk chunk;
    Segments segments;
  };
  std::vector<mcr::image::PageRun> write_to_streams(const std::vector<PageSource>& sources);
  std::vector<mcr::image::PageRun> write_file_to_streams(int fd, uint32_t shared_id, uint64_t size);
  uint64_t next_batch(const ChunkQueue& queue, uint64_t most) const;
  void start_batch(inject::Batch& batch, std::vector<Chunk>& chunks);
  void finish_batch(inject::Batch& batch, const std::vector<Chunk>& chunks);
  void copy_ourselves(const Chunk& chunk);
  void take_from_end(inject::Batch& batch, ChunkQueue& queue, std::vector<Taken>& taken);
  void place(std::span<Chunk> chunks);
  Segments copy_to_pages_file(const Chunk& chunk, Worker& worker);
  Segments copy_to_second_file(const Chunk& chunk, Worker& worker);
  void copy_all(std::vector<Chunk>& chunks, std::vector<mcr::image::PageRun>& runs);
  void note_share(std::span<const Segments> batch);
  std::span<const std::byte> read_chunk(PageBuffer& buffer, const Chunk& chunk) const;
  std::span<const std::byte> read_back(std::span<const Chunk> chunks);
  void hash(const std::vector<Chunk>& chunks, std::vector<mcr::image::PageRun>& runs);
  void remove(const PageSplit::Segment& segment, uint64_t offset) const;
  void tell_stored(uint64_t end) const;

  inject::Channel* channel_;                     // nullptr: there is no parasite
  const trace::RemoteMemory* memory_ = nullptr;  // nullptr: it is held
  const HeldPages* held_ = nullptr;
  int fd_;
  int remote_fd_ = -1;
  uint64_t offset_;
  uint64_t pages_ = 0;
  bool by_parasite_;
  bool comes_again_ = false;  // most of the last batch
  bool has_second_ = false;   // for what is being written
  unsigned small_taken_ = 0;
  std::function<void(uint64_t)> stored_;
  OtherFiles others_;
  PageSplit split_;
  Worker workers_[2];  // of the two threads that copy
};

}  // namespace mcr::mem
