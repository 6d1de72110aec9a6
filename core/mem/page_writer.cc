#include "core/mem/page_writer.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <future>

#include "core/base/error.h"
#include "core/mem/vma_flags.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "images/store.h"

namespace mcr::mem {
namespace {

using image::PageRun;
using image::Vma;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kBatchBytes = 16 << 20;  // enough to hide the round trip, small enough to overlap with the checksums
constexpr size_t kMaxVectors = 1024;        // UIO_MAXIOV

// A read-only window of the pages file.
class Window {
 public:
  Window(int fd, uint64_t offset, uint64_t bytes) : bytes_(bytes) {
    address_ = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, static_cast<off_t>(offset));
    if (address_ == MAP_FAILED) throw Error(Fault::system, "map a part of the pages file");
  }
  ~Window() { ::munmap(address_, bytes_); }
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;
  const std::byte* data() const { return static_cast<const std::byte*>(address_); }

 private:
  void* address_;
  uint64_t bytes_;
};

}  // namespace

namespace {

bool has_private_pages(const Vma& vma) {
  return vma.kind() == Vma::PRIVATE_ANONYMOUS || vma.kind() == Vma::PRIVATE_FILE;
}

// Cuts ranges, which may reach over several mappings, at the borders of the mappings.
void cut_at_mappings(std::span<const Vma> vmas, const std::vector<sys::PageRange>& ranges,
                     std::vector<PageSource>& out) {
  size_t vma = 0;
  for (sys::PageRange range : ranges) {
    while (range.start < range.end) {
      while (vmas[vma].end() <= range.start) ++vma;
      const uint64_t end = std::min(range.end, vmas[vma].end());
      out.push_back({range.start, end - range.start, (vmas[vma].prot() & PROT_READ) != 0});
      range.start = end;
    }
  }
}

// In shared memory, whose page tables would be walked for nothing else, a kernel that prints "gu" (VM_MAYBE_GUARD, 6.19
// and some before) tells where there may be any.
bool may_have_guards(const Vma& vma) {
  if (vma.kind() != Vma::SHARED_FILE && vma.kind() != Vma::SHARED_ANONYMOUS) return false;
  constexpr uint64_t kNotWorthAsking = 64 << 20;
  return has_vm_flag(vma, "gu") || vma.end() - vma.start() < kNotWorthAsking || !sys::shows_guard_flag();
}

void note_guards(std::vector<Vma>& vmas, const std::vector<sys::PageRange>& guards) {
  size_t vma = 0;
  for (sys::PageRange range : guards)
    while (range.start < range.end) {
      while (vmas[vma].end() <= range.start) ++vma;
      const uint64_t end = std::min(range.end, vmas[vma].end());
      auto* span = vmas[vma].add_guards();
      span->set_start(range.start);
      span->set_bytes(end - range.start);
      range.start = end;
    }
}

}  // namespace

// Private mappings that follow one another without a gap are scanned with one call; shared ones for their guard pages
// only.
std::vector<PageSource> select_pages(const sys::Pagemap& pagemap, std::vector<Vma>& vmas) {
  std::vector<PageSource> sources;
  std::vector<sys::PageRange> ranges, guards;
  for (size_t first = 0; first < vmas.size();) {
    size_t last = first;
    while (last < vmas.size() && has_private_pages(vmas[last]) &&
           (last == first || vmas[last].start() == vmas[last - 1].end()))
      ++last;
    if (last > first) {
      ranges.clear();
      pagemap.private_pages(vmas[first].start(), vmas[last - 1].end(), ranges, guards);
      cut_at_mappings(std::span(vmas).subspan(first, last - first), ranges, sources);
    } else if (may_have_guards(vmas[first])) {
      pagemap.guard_pages(vmas[first].start(), vmas[first].end(), guards);
    }
    first = std::max(last, first + 1);
  }
  note_guards(vmas, guards);
  return sources;
}

PageWriter::PageWriter(inject::Channel& channel, const trace::RemoteMemory& memory, int pages_fd, uint64_t offset,
                       bool by_parasite)
    : channel_(channel), memory_(memory), fd_(pages_fd), offset_(offset), by_parasite_(by_parasite) {
  if (by_parasite_) remote_fd_ = channel_.lend(pages_fd);
}

std::vector<PageRun> PageWriter::write(const std::vector<PageSource>& sources) {
  std::vector<PageRun> runs(sources.size());
  std::vector<Chunk> chunks, before;
  uint64_t pending = 0;
  inject::Batch batch = channel_.batch();
  const auto flush = [&] {
    if (chunks.empty()) return;
    if (by_parasite_) {
      batch.clear();
      start_batch(batch, chunks);
      hash(before, runs);  // while the program's thread writes
      finish_batch(batch, chunks);
      before.swap(chunks);
    } else {
      copy_all(chunks, runs);
    }
    chunks.clear();
    pending = 0;
  };
  for (size_t i = 0; i < sources.size(); ++i) {
    const PageSource& source = sources[i];
    runs[i].set_start(source.start);
    runs[i].set_bytes(source.bytes);
    runs[i].set_offset(offset_);
    runs[i].set_chunk_bytes(images::kChunkBytes);
    for (uint64_t done = 0; done < source.bytes;) {
      const uint64_t bytes = std::min<uint64_t>(source.bytes - done, images::kChunkBytes);
      chunks.push_back({source.start + done, bytes, offset_, source.readable, i});
      offset_ += bytes;
      done += bytes;
      pending += bytes;
      if (pending >= kBatchBytes || chunks.size() >= 4 * kMaxVectors) flush();
    }
    pages_ += source.bytes / kPage;
  }
  flush();
  hash(before, runs);
  return runs;
}

// Chunks lie one behind the other in the file, so that one pwritev takes as many of them as a vector can hold.
void PageWriter::start_batch(inject::Batch& batch, const std::vector<Chunk>& chunks) {
  for (size_t i = 0; i < chunks.size();) {
    if (!chunks[i].readable) {
      ++i;
      continue;
    }
    std::vector<iovec> parts;
    const uint64_t offset = chunks[i].offset;
    for (; i < chunks.size() && chunks[i].readable && parts.size() < kMaxVectors; ++i)
      parts.push_back({reinterpret_cast<void*>(chunks[i].address), chunks[i].bytes});
    const RemoteAddr vector = batch.put(std::as_bytes(std::span(parts)));
    batch.try_add("pwritev", SYS_pwritev, {static_cast<uint64_t>(remote_fd_), vector.get(), parts.size(), offset, 0});
  }
  if (!batch.empty()) channel_.start(batch);
}

void PageWriter::finish_batch(inject::Batch& batch, const std::vector<Chunk>& chunks) {
  if (!batch.empty()) channel_.finish(batch);
  size_t call = 0;
  for (size_t i = 0; i < chunks.size();) {
    if (!chunks[i].readable) {
      copy_ourselves(chunks[i++]);
      continue;
    }
    const size_t first = i;
    uint64_t wanted = 0;
    for (; i < chunks.size() && chunks[i].readable && i - first < kMaxVectors; ++i) wanted += chunks[i].bytes;
    // Short or failed (a full disk, a page that cannot be read): again by ourselves, which says exactly why.
    if (batch.result(call++) != static_cast<int64_t>(wanted))
      for (size_t k = first; k < i; ++k) copy_ourselves(chunks[k]);
  }
}

namespace {

// What cannot be read has no content: guard pages where the kernel does not tell them, pages that were lost.
void read_page_by_page(const trace::RemoteMemory& memory, uint64_t address, std::span<std::byte> to) {
  if (memory.try_read(RemoteAddr(address), to)) return;
  for (uint64_t at = 0; at < to.size(); at += kPage)
    if (!memory.try_read(RemoteAddr(address + at), to.subspan(at, std::min<uint64_t>(kPage, to.size() - at))))
      throw Error(Fault::refused,
                  fmt::format("the page at {:#x} cannot be read: a guard page (MADV_GUARD_INSTALL) on a kernel before "
                              "6.15, or one lost to a memory error or to UFFDIO_POISON",
                              address + at),
                  "let the program give up that page, or run it on Linux 6.15 or newer");
}

}  // namespace

void PageWriter::copy_ourselves(const Chunk& chunk) {
  std::vector<std::byte> buffer(images::kChunkBytes);
  copy_through(buffer, chunk);
}

// Two threads, each with a buffer that stays in its processor's caches.
void PageWriter::copy_all(const std::vector<Chunk>& chunks, std::vector<PageRun>& runs) {
  std::vector<uint64_t> sums(chunks.size());
  std::atomic<size_t> next = 0;
  const auto work = [&](std::vector<std::byte>& buffer) {
    buffer.resize(images::kChunkBytes);
    for (size_t i = next++; i < chunks.size(); i = next++) {
      copy_through(buffer, chunks[i]);
      sums[i] = images::checksum_of(buffer.data(), chunks[i].bytes);
    }
  };
  std::future<void> other;
  if (chunks.size() > 1) other = std::async(std::launch::async, [&] { work(buffers_[1]); });
  work(buffers_[0]);
  if (other.valid()) other.get();
  for (size_t i = 0; i < chunks.size(); ++i) runs[chunks[i].run].add_checksums(sums[i]);
}

void PageWriter::copy_through(std::vector<std::byte>& buffer, const Chunk& chunk) const {
  const auto bytes = std::span(buffer).first(chunk.bytes);
  // process_vm_readv copies once, /proc/PID/mem twice; but only that reads what the program may not.
  if (!chunk.readable || !sys::try_read_memory(channel_.pid(), RemoteAddr(chunk.address), bytes.data(), bytes.size()))
    read_page_by_page(memory_, chunk.address, bytes);
  const Step step("store {} bytes of memory at {:#x}", chunk.bytes, chunk.address);
  sys::pwrite_fully(fd_, bytes.data(), bytes.size(), chunk.offset);
}

void PageWriter::hash(const std::vector<Chunk>& chunks, std::vector<PageRun>& runs) {
  if (chunks.empty()) return;
  const uint64_t begin = chunks.front().offset, end = chunks.back().offset + chunks.back().bytes;
  const Window window(fd_, begin, end - begin);
  for (const Chunk& chunk : chunks)
    runs[chunk.run].add_checksums(images::checksum_of(window.data() + (chunk.offset - begin), chunk.bytes));
}

std::vector<PageRun> PageWriter::write_file(int fd, uint32_t shared_id, uint64_t size) {
  std::vector<PageRun> runs;
  std::vector<std::byte> buffer(images::kChunkBytes);
  for (uint64_t at = 0; at < size;) {
    const auto data = sys::try_seek(fd, static_cast<int64_t>(at), SEEK_DATA);
    if (!data || *data >= size) break;
    const uint64_t start = *data / kPage * kPage;
    const uint64_t hole = std::min(size, sys::try_seek(fd, static_cast<int64_t>(start), SEEK_HOLE).value_or(size));
    PageRun run;
    run.set_shared(shared_id);
    run.set_start(start);
    run.set_offset(offset_);
    run.set_chunk_bytes(images::kChunkBytes);
    at = start;
    while (at < hole) {
      const size_t n = sys::pread_some(fd, buffer.data(), std::min<uint64_t>(buffer.size(), hole - at), at);
      if (n == 0) break;
      const size_t padded = (n + kPage - 1) / kPage * kPage;
      std::fill(buffer.begin() + static_cast<std::ptrdiff_t>(n), buffer.begin() + static_cast<std::ptrdiff_t>(padded),
                std::byte{0});
      sys::pwrite_fully(fd_, buffer.data(), padded, offset_);
      run.add_checksums(images::checksum_of(buffer.data(), padded));
      offset_ += padded;
      at += padded;
    }
    run.set_bytes(at - start);
    pages_ += run.bytes() / kPage;
    runs.push_back(std::move(run));
  }
  return runs;
}

}  // namespace mcr::mem
