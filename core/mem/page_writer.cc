#include "core/mem/page_writer.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <thread>

#include "core/base/aside.h"
#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/store.h"

namespace mcr::mem {
namespace {

using image::PageRun;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kBatchBytes = 16 << 20;  // enough to hide the round trip, small enough to overlap with the checksums
constexpr uint64_t kFirstBatch = 2 << 20;   // small, as nothing is known of what comes; each next is twice as large
constexpr uint64_t kWorthAThread = 1 << 20;
constexpr uint64_t kWorthASecondFile = 8 << 20;
constexpr size_t kMaxVectors = 1024;  // UIO_MAXIOV

PageSplit::ReadPage page_of(const trace::RemoteMemory& memory) {
  return [&memory](uint64_t address, std::span<std::byte> out) { return memory.try_read(RemoteAddr(address), out); };
}

}  // namespace

PageWriter::PageWriter(inject::Channel& channel, const trace::RemoteMemory& memory, int pages_fd, uint64_t offset,
                       bool by_parasite, const OtherFiles& others)
    : channel_(&channel),
      memory_(&memory),
      fd_(pages_fd),
      offset_(offset),
      by_parasite_(by_parasite && !others.streams),
      others_(others),
      split_(pages_fd, others.second, page_of(memory)) {
  if (by_parasite_) remote_fd_ = channel_->lend(pages_fd);
}

PageWriter::PageWriter(const trace::RemoteMemory& memory, int pages_fd, uint64_t offset, const OtherFiles& others)
    : channel_(nullptr),
      memory_(&memory),
      fd_(pages_fd),
      offset_(offset),
      by_parasite_(false),
      others_(others),
      split_(pages_fd, others.second, page_of(memory)) {}

PageWriter::PageWriter(const HeldPages& held, int pages_fd, uint64_t offset)
    : channel_(nullptr),
      held_(&held),
      fd_(pages_fd),
      offset_(offset),
      by_parasite_(false),
      split_(pages_fd, nullptr, {}) {}

// Where the engine takes from the other end, both come to the middle at about the same time.
uint64_t PageWriter::next_batch(const ChunkQueue& queue, uint64_t most) const {
  if (!has_second_ || !by_parasite_) return most;
  return std::min(most, std::max<uint64_t>(queue.left() / 2, images::kChunkBytes));
}

std::vector<PageRun> PageWriter::write(const std::vector<PageSource>& sources) {
  if (others_.streams) return write_to_streams(sources);
  ChunkQueue queue(sources, images::kChunkBytes);
  const uint64_t all = queue.left();
  split_.expect(all);
  has_second_ = others_.second && all >= kWorthASecondFile && std::thread::hardware_concurrency() > 1;
  if (has_second_) others_.second->prepare();
  std::vector<PageRun> runs;
  std::vector<Chunk> before;
  std::vector<Taken> taken;
  inject::Batch batch = by_parasite_ ? channel_->batch() : inject::Batch({});
  for (uint64_t most = kFirstBatch; queue.left() != 0; most = std::min(2 * most, kBatchBytes)) {
    auto chunks = queue.take_front(next_batch(queue, most), 4 * kMaxVectors);
    if (by_parasite_ && !comes_again_) {
      batch.clear();
      start_batch(batch, chunks);
      hash(before, runs);  // while the program's thread writes
      take_from_end(batch, queue, taken);
      finish_batch(batch, chunks);
      before = std::move(chunks);
    } else {
      hash(before, runs);
      before.clear();
      copy_all(chunks, runs);
      tell_stored(offset_);
    }
  }
  hash(before, runs);
  for (auto part = taken.rbegin(); part != taken.rend(); ++part)
    PageSplit::append(runs, part->chunk.begins, part->segments);
  pages_ += all / kPage;
  return runs;
}

void PageWriter::place(std::span<Chunk> chunks) {
  for (Chunk& chunk : chunks) {
    chunk.offset = offset_;
    offset_ += chunk.bytes;
  }
}

// Chunks lie one behind the other in the file, so that one pwritev takes as many of them as a vector can hold.
void PageWriter::start_batch(inject::Batch& batch, std::vector<Chunk>& chunks) {
  place(chunks);
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
  if (!batch.empty()) channel_->start(batch);
}

void PageWriter::finish_batch(inject::Batch& batch, const std::vector<Chunk>& chunks) {
  if (!batch.empty()) channel_->finish(batch);
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

// While the program's thread writes. Of small stretches only a few: each becomes a run, which takes memory.
void PageWriter::take_from_end(inject::Batch& batch, ChunkQueue& queue, std::vector<Taken>& taken) {
  constexpr uint64_t kSmall = 64 << 10;
  constexpr unsigned kMostSmall = 4096;
  if (!has_second_ || batch.empty()) return;
  try {
    while (queue.left() != 0 && small_taken_ < kMostSmall && !channel_->has_answer()) {
      const Chunk chunk = queue.take_back();
      if (chunk.bytes < kSmall) ++small_taken_;
      taken.push_back({chunk, copy_to_second_file(chunk, workers_[0])});
    }
  } catch (const Error&) {
    channel_->finish(batch);  // when the program has ended, that is the reason
    throw;
  }
}

// By /proc/PID/mem, which reads what the program itself may not. process_vm_readv(2) would copy once less, but pins the
// pages, and for that the kernel gives the program a copy of each that it shares with a relative by fork(2)
// (FAULT_FLAG_UNSHARE, 6.0). What cannot be read has no content: guard pages where the kernel does not tell them, pages
// that were lost.
void read_pages(const trace::RemoteMemory& memory, uint64_t address, std::span<std::byte> to) {
  if (memory.try_read(RemoteAddr(address), to)) return;
  for (uint64_t at = 0; at < to.size(); at += kPage)
    if (!memory.try_read(RemoteAddr(address + at), to.subspan(at, std::min<uint64_t>(kPage, to.size() - at))))
      throw Error(Fault::refused,
                  fmt::format("the page at {:#x} cannot be read: a guard page (MADV_GUARD_INSTALL) on a kernel before "
                              "6.15, or one lost to a memory error or to UFFDIO_POISON",
                              address + at),
                  "let the program give up that page, or run it on Linux 6.15 or newer");
}

void PageWriter::copy_ourselves(const Chunk& chunk) {
  PageBuffer buffer;
  const auto content = read_chunk(buffer, chunk);
  const Step step("store {} bytes of memory at {:#x}", chunk.bytes, chunk.address);
  sys::pwrite_fully(fd_, content.data(), content.size(), chunk.offset);
}

PageWriter::Segments PageWriter::copy_to_pages_file(const Chunk& chunk, Worker& worker) {
  const auto content = read_chunk(worker.buffer, chunk);
  Segments segments = split_.in_pages_file(content, chunk.address, chunk.offset, worker.sight);
  const Step step("store {} bytes of memory at {:#x}", chunk.bytes, chunk.address);
  for (const auto& segment : segments)
    if (segment.source == PageRun::FILE)
      sys::pwrite_fully(fd_, content.data() + (segment.start - chunk.address), segment.bytes, segment.place.offset);
  return segments;
}

PageWriter::Segments PageWriter::copy_to_second_file(const Chunk& chunk, Worker& worker) {
  const auto content = read_chunk(worker.buffer, chunk);
  const Step step("store {} bytes of memory at {:#x}", chunk.bytes, chunk.address);
  return split_.to_second_file(content, chunk.address, worker.sight);
}

// Two threads, each with a buffer that stays in its processor's caches, and with a file of its own where there is a
// second one. Of little one is done before the other begins.
void PageWriter::copy_all(std::vector<Chunk>& chunks, std::vector<PageRun>& runs) {
  std::vector<Segments> segments(chunks.size());
  std::atomic<size_t> next = 0;
  uint64_t bytes = 0;
  for (const Chunk& chunk : chunks) bytes += chunk.bytes;
  if (!has_second_) place(chunks);
  const auto work = [&](Worker& worker, bool to_second) {
    for (size_t i = next++; i < chunks.size(); i = next++) {
      if (!to_second && has_second_) place(std::span(&chunks[i], 1));
      segments[i] = to_second ? copy_to_second_file(chunks[i], worker) : copy_to_pages_file(chunks[i], worker);
    }
  };
  std::future<void> other;
  if (chunks.size() > 1 && bytes >= kWorthAThread) other = begin_aside([&] { work(workers_[1], has_second_); });
  work(workers_[0], false);
  if (other.valid()) other.get();
  for (size_t i = 0; i < chunks.size(); ++i) PageSplit::append(runs, chunks[i].begins, segments[i]);
  note_share(segments);
}

// Where most of the last batch was zeros, or had come before, the next is read before it is written: what is written
// only to be taken out again costs the more.
void PageWriter::note_share(std::span<const Segments> batch) {
  uint64_t all = 0, stored = 0;
  for (const Segments& segments : batch)
    for (const auto& segment : segments) {
      all += segment.bytes;
      if (segment.source == PageRun::FILE || segment.source == PageRun::STREAMS) stored += segment.bytes;
    }
  comes_again_ = stored < all / 2;
}

std::span<const std::byte> PageWriter::read_chunk(PageBuffer& buffer, const Chunk& chunk) const {
  if (buffer.size() < chunk.bytes) buffer.resize(chunk.bytes);
  const auto bytes = std::span(buffer).first(chunk.bytes);
  if (held_)
    held_->read(chunk.address, bytes);
  else
    read_pages(*memory_, chunk.address, bytes);
  return bytes;
}

// What the first of these chunks have in the pages file. Reading costs less than a mapping, of which each page is
// entered and taken out again.
std::span<const std::byte> PageWriter::read_back(std::span<const Chunk> chunks) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < chunks.size() && bytes + chunks[i].bytes <= images::kChunkBytes; ++i) bytes += chunks[i].bytes;
  PageBuffer& buffer = workers_[0].buffer;
  if (buffer.size() < bytes) buffer.resize(bytes);
  if (sys::pread_whole(fd_, buffer.data(), bytes, chunks.front().offset) != bytes)
    throw Error(Fault::system, "the file of pages has become shorter", "let nothing else write to the image's folder");
  return std::span(buffer).first(bytes);
}

void PageWriter::hash(const std::vector<Chunk>& chunks, std::vector<PageRun>& runs) {
  if (chunks.empty()) return;
  std::vector<Segments> batch;
  batch.reserve(chunks.size());
  std::span<const std::byte> ahead;
  for (size_t i = 0; i < chunks.size(); ++i) {
    const Chunk& chunk = chunks[i];
    if (ahead.empty()) ahead = read_back(std::span(chunks).subspan(i));
    const auto content = ahead.first(chunk.bytes);
    ahead = ahead.subspan(chunk.bytes);
    const Segments& segments =
        batch.emplace_back(split_.in_pages_file(content, chunk.address, chunk.offset, workers_[0].sight));
    PageSplit::append(runs, chunk.begins, segments);
    for (const auto& segment : segments)
      if (segment.source != PageRun::FILE) remove(segment, chunk.offset + (segment.start - chunk.address));
  }
  note_share(batch);
  tell_stored(chunks.back().offset + chunks.back().bytes);
}

// What need not be written at its end is a part of the file all the same.
void PageWriter::tell_stored(uint64_t end) const {
  if (!stored_) return;
  if (static_cast<uint64_t>(sys::stat_fd(fd_).st_size) < end) sys::truncate_fd(fd_, end);
  stored_(end);
}

// It was written before it was looked at. What belongs to no run must be zero.
void PageWriter::remove(const PageSplit::Segment& segment, uint64_t offset) const {
  constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (::fallocate(fd_, kPunch, static_cast<off_t>(offset), static_cast<off_t>(segment.bytes)) == 0) return;
  if (segment.source == PageRun::ZERO) return;  // the file system has no holes
  const std::vector<std::byte> zeros(kPage);
  for (uint64_t done = 0; done < segment.bytes; done += kPage)
    sys::pwrite_fully(fd_, zeros.data(), kPage, offset + done);
}

std::vector<PageRun> PageWriter::write_to_streams(const std::vector<PageSource>& sources) {
  std::vector<PageStreams::Extent> extents;
  for (const PageSource& source : sources) extents.push_back({source.start, source.bytes, source.readable});
  const uint64_t before = others_.streams->pages_written();
  auto runs = others_.streams->write(extents, [&](const PageStreams::Extent&, uint64_t at, std::span<std::byte> out) {
    read_pages(*memory_, at, out);
  });
  pages_ += others_.streams->pages_written() - before;
  return runs;
}

}  // namespace mcr::mem
