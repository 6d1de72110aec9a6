// Moves the content of pages into a pages file: by the parasite, which writes straight from the program's memory,
// while we compute checksums of what it wrote before; by us, where the program itself must not or cannot.
#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "core/base/page_buffer.h"
#include "core/inject/channel.h"
#include "core/mem/page_room.h"
#include "core/mem/page_source.h"
#include "core/mem/page_streams.h"
#include "core/sys/pagemap.h"
#include "images/proto/mm.pb.h"

namespace mcr::mem {

class PageWriter {
 public:
  // by_parasite: false when the program has a file size limit (it would get SIGXFSZ) or must not do it otherwise.
  // streams: where everything goes instead of the pages file; null: nowhere else.
  PageWriter(inject::Channel& channel, const trace::RemoteMemory& memory, int pages_fd, uint64_t offset,
             bool by_parasite, PageStreams* streams = nullptr);

  // By us, with no parasite: any thread.
  PageWriter(HostPid pid, const trace::RemoteMemory& memory, int pages_fd, uint64_t offset,
             PageStreams* streams = nullptr);

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
  std::vector<mcr::image::PageRun> write_to_streams(const std::vector<PageSource>& sources);
  std::vector<mcr::image::PageRun> write_file_to_streams(int fd, uint32_t shared_id, uint64_t size);
  struct Chunk {
    uint64_t address, bytes, offset;
    bool readable;
    bool begins;  // the first of its source: runs lie in one mapping
  };
  struct Segment {
    mcr::image::PageRun::Source source;
    uint64_t start, bytes, offset, checksum;
  };
  using Segments = std::vector<Segment>;
  struct LastPage {  // that was read back, for comparison
    uint64_t offset = 0, checksum = 0;
    PageBuffer content;
  };
  // What of this content, which lies or is to lie at `offset`, is zeros or came before.
  Segments split(std::span<const std::byte> content, uint64_t start, uint64_t offset, LastPage& last);
  bool is_stored(uint64_t offset, std::span<const std::byte> page, LastPage& last) const;
  void prepare_dedup(const std::vector<PageSource>& sources);
  static void append(std::vector<mcr::image::PageRun>& runs, bool begins, const Segments& segments);
  void remove(const Segment& segment, uint64_t offset) const;
  void start_batch(inject::Batch& batch, const std::vector<Chunk>& chunks);
  void finish_batch(inject::Batch& batch, const std::vector<Chunk>& chunks);
  void copy_ourselves(const Chunk& chunk);
  void copy_all(const std::vector<Chunk>& chunks, std::vector<mcr::image::PageRun>& runs);
  void note_share(std::span<const Segments> batch);
  void read_chunk(PageBuffer& buffer, const Chunk& chunk) const;
  void hash(const std::vector<Chunk>& chunks, std::vector<mcr::image::PageRun>& runs);
  void tell_stored(uint64_t end) const;

  inject::Channel* channel_;  // nullptr: there is no parasite
  HostPid pid_;
  const trace::RemoteMemory* memory_ = nullptr;  // nullptr: it is held
  const HeldPages* held_ = nullptr;
  int fd_;
  int remote_fd_ = -1;
  uint64_t offset_;
  uint64_t pages_ = 0;
  bool by_parasite_;
  bool comes_again_ = false;  // most of the last batch
  std::function<void(uint64_t)> stored_;
  PageStreams* streams_;
  PageBuffer buffers_[2];  // of the two threads that copy
  LastPage last_[2];
  std::optional<PageDedup> dedup_;
  std::atomic<uint64_t> cuts_ = 0;
};

// The stretches to be stored of private mappings: what PAGEMAP says has content of its own. Guard pages are noted in
// the mappings. `wanted`: only of those mappings; none: of all. `left_out`: stretches of private mappings, in address
// order, that are not looked at.
using Wanted = std::function<bool(const mcr::image::Vma&)>;
std::vector<PageSource> select_pages(const sys::Pagemap& pagemap, std::vector<mcr::image::Vma>& vmas,
                                     const Wanted& wanted = {}, const std::vector<sys::PageRange>& left_out = {});
// Both in address order.
void note_guards(std::vector<mcr::image::Vma>& vmas, const std::vector<sys::PageRange>& guards);
// Whether fork(2) copies its pages, page by page when they are written to.
bool is_copied_on_write(const mcr::image::Vma& vma);
// Cuts ranges, which may reach over several mappings, at the borders of the mappings. Both in address order.
void cut_at_mappings(std::span<const mcr::image::Vma> vmas, const std::vector<sys::PageRange>& ranges,
                     std::vector<PageSource>& out);

}  // namespace mcr::mem
