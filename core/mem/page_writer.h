// Moves the content of pages into a pages file: by the parasite, which writes straight from the program's memory,
// while we compute checksums of what it wrote before; by us, where the program itself must not or cannot.
#pragma once

#include <vector>

#include "core/inject/channel.h"
#include "core/sys/pagemap.h"
#include "core/trace/remote_memory.h"
#include "images/proto/mm.pb.h"

namespace mcr::mem {

struct PageSource {
  uint64_t start = 0, bytes = 0;  // addresses of the program
  bool readable = true;           // for the program itself
};

class PageWriter {
 public:
  // by_parasite: false when the program has a file size limit (it would get SIGXFSZ) or must not do it otherwise.
  PageWriter(inject::Channel& channel, const trace::RemoteMemory& memory, int pages_fd, uint64_t offset,
             bool by_parasite);

  // Stores these stretches one behind the other; one PageRun each.
  std::vector<mcr::image::PageRun> write(const std::vector<PageSource>& sources);
  // Stores the data of a file (shared memory through /proc/PID/map_files): one PageRun a stretch of data.
  std::vector<mcr::image::PageRun> write_file(int fd, uint32_t shared_id, uint64_t size);
  uint64_t offset() const { return offset_; }
  uint64_t pages_written() const { return pages_; }

 private:
  struct Chunk {
    uint64_t address, bytes, offset;
    bool readable;
    size_t run;
  };
  void start_batch(inject::Batch& batch, const std::vector<Chunk>& chunks);
  void finish_batch(inject::Batch& batch, const std::vector<Chunk>& chunks);
  void copy_ourselves(const Chunk& chunk);
  void copy_all(const std::vector<Chunk>& chunks, std::vector<mcr::image::PageRun>& runs);
  void copy_through(std::vector<std::byte>& buffer, const Chunk& chunk) const;
  void hash(const std::vector<Chunk>& chunks, std::vector<mcr::image::PageRun>& runs);

  inject::Channel& channel_;
  const trace::RemoteMemory& memory_;
  int fd_;
  int remote_fd_ = -1;
  uint64_t offset_;
  uint64_t pages_ = 0;
  bool by_parasite_;
  std::vector<std::byte> buffers_[2];  // of the two threads that copy
};

// The stretches to be stored of private mappings: what PAGEMAP says has content of its own. Guard pages are noted in
// the mappings.
std::vector<PageSource> select_pages(const sys::Pagemap& pagemap, std::vector<mcr::image::Vma>& vmas);

}  // namespace mcr::mem
