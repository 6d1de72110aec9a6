#include "core/mem/page_writer.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <future>

#include "core/base/aside.h"
#include "core/base/error.h"
#include "core/mem/vma_flags.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/sys/stream.h"
#include "images/store.h"

namespace mcr::mem {
namespace {

using image::PageRun;
using image::Vma;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kBatchBytes = 16 << 20;  // enough to hide the round trip, small enough to overlap with the checksums
constexpr uint64_t kFirstBatch = 2 << 20;   // small, as nothing is known of what comes; each next is twice as large
constexpr uint64_t kWorthAThread = 1 << 20;
constexpr size_t kMaxVectors = 1024;  // UIO_MAXIOV

bool has_private_pages(const Vma& vma) {
  return vma.kind() == Vma::PRIVATE_ANONYMOUS || vma.kind() == Vma::PRIVATE_FILE;
}

// In shared memory, whose page tables would be walked for nothing else, a kernel that prints "gu" (VM_MAYBE_GUARD, 6.19
// and some before) tells where there may be any.
bool may_have_guards(const Vma& vma) {
  if (vma.kind() != Vma::SHARED_FILE && vma.kind() != Vma::SHARED_ANONYMOUS) return false;
  constexpr uint64_t kNotWorthAsking = 64 << 20;
  return has_vm_flag(vma, "gu") || vma.end() - vma.start() < kNotWorthAsking || !sys::shows_guard_flag();
}

}  // namespace

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

namespace {

// A stretch with holes: where these are many, looking at all of it costs less than asking for each part.
void look_around(const sys::Pagemap& pagemap, uint64_t start, uint64_t end, std::span<const sys::PageRange> left_out,
                 std::vector<sys::PageRange>& ranges, std::vector<sys::PageRange>& guards) {
  constexpr uint64_t kWorthSkipping = 48 * kPage;  // for each question
  const bool asks_for_each = left_out.size() * kWorthSkipping < end - start;
  std::vector<sys::PageRange> all, all_guards;
  if (!asks_for_each) pagemap.private_pages(start, end, all, all_guards);
  uint64_t at = start;
  const auto cut = [](std::vector<sys::PageRange>& from, uint64_t first, uint64_t last,
                      std::vector<sys::PageRange>& out) {
    auto next = std::ranges::partition_point(from, [&](const auto& r) { return r.end <= first; });
    for (; next != from.end() && next->start < last; ++next)
      out.push_back({std::max(first, next->start), std::min(last, next->end)});
  };
  const auto take = [&](uint64_t first, uint64_t last) {
    if (first >= last) return;
    if (asks_for_each) return pagemap.private_pages(first, last, ranges, guards);
    cut(all, first, last, ranges);
    cut(all_guards, first, last, guards);
  };
  for (const sys::PageRange& range : left_out) {
    take(at, range.start);
    at = range.end;
  }
  take(at, end);
}

}  // namespace

// Private mappings that follow one another without a gap are scanned with one call; shared ones for their guard pages
// only.
std::vector<PageSource> select_pages(const sys::Pagemap& pagemap, std::vector<Vma>& vmas, const Wanted& wanted,
                                     const std::vector<sys::PageRange>& left_out) {
  const auto is_wanted = [&](const Vma& vma) { return !wanted || wanted(vma); };
  std::vector<PageSource> sources;
  std::vector<sys::PageRange> ranges, guards;
  for (size_t first = 0; first < vmas.size();) {
    size_t last = first;
    while (last < vmas.size() && has_private_pages(vmas[last]) && is_wanted(vmas[last]) &&
           (last == first || vmas[last].start() == vmas[last - 1].end()))
      ++last;
    if (last > first) {
      ranges.clear();
      const uint64_t start = vmas[first].start(), end = vmas[last - 1].end();
      const auto skipped = std::ranges::partition_point(left_out, [&](const auto& r) { return r.end <= start; });
      const auto behind = std::ranges::partition_point(left_out, [&](const auto& r) { return r.start < end; });
      look_around(pagemap, start, end, std::span(skipped, behind), ranges, guards);
      cut_at_mappings(std::span(vmas).subspan(first, last - first), ranges, sources);
    } else if (may_have_guards(vmas[first]) && is_wanted(vmas[first])) {
      pagemap.guard_pages(vmas[first].start(), vmas[first].end(), guards);
    }
    first = std::max(last, first + 1);
  }
  note_guards(vmas, guards);
  return sources;
}

// "dc" and "wf": MADV_DONTFORK, MADV_WIPEONFORK. Of hugetlb the copy loses a page that the program writes to when there
// is no other one.
bool is_copied_on_write(const Vma& vma) {
  return has_private_pages(vma) && !has_vm_flag(vma, "dc") && !has_vm_flag(vma, "wf") && vma.huge_page_shift() == 0;
}

PageWriter::PageWriter(inject::Channel& channel, const trace::RemoteMemory& memory, int pages_fd, uint64_t offset,
                       bool by_parasite, PageStreams* streams)
    : channel_(&channel),
      pid_(channel.pid()),
      memory_(&memory),
      fd_(pages_fd),
      offset_(offset),
      by_parasite_(by_parasite && !streams),
      streams_(streams) {
  if (by_parasite_) remote_fd_ = channel_->lend(pages_fd);
}

PageWriter::PageWriter(HostPid pid, const trace::RemoteMemory& memory, int pages_fd, uint64_t offset,
                       PageStreams* streams)
    : channel_(nullptr),
      pid_(pid),
      memory_(&memory),
      fd_(pages_fd),
      offset_(offset),
      by_parasite_(false),
      streams_(streams) {}

PageWriter::PageWriter(const HeldPages& held, int pages_fd, uint64_t offset)
    : channel_(nullptr), held_(&held), fd_(pages_fd), offset_(offset), by_parasite_(false), streams_(nullptr) {}

std::vector<PageRun> PageWriter::write(const std::vector<PageSource>& sources) {
  if (streams_) return write_to_streams(sources);
  std::vector<PageRun> runs;
  std::vector<Chunk> chunks, before;
  prepare_dedup(sources);
  uint64_t pending = 0, most = kFirstBatch;
  inject::Batch batch = by_parasite_ ? channel_->batch() : inject::Batch({});
  const auto flush = [&] {
    if (chunks.empty()) return;
    if (by_parasite_ && !comes_again_) {
      batch.clear();
      start_batch(batch, chunks);
      hash(before, runs);  // while the program's thread writes
      finish_batch(batch, chunks);
      before.swap(chunks);
    } else {
      hash(before, runs);
      before.clear();
      copy_all(chunks, runs);
      tell_stored(offset_);
    }
    chunks.clear();
    pending = 0;
    most = std::min(2 * most, kBatchBytes);
  };
  for (const PageSource& source : sources) {
    for (uint64_t done = 0; done < source.bytes;) {
      const uint64_t bytes = std::min<uint64_t>(source.bytes - done, images::kChunkBytes);
      chunks.push_back({source.start + done, bytes, offset_, source.readable, done == 0});
      offset_ += bytes;
      done += bytes;
      pending += bytes;
      if (pending >= most || chunks.size() >= 4 * kMaxVectors) flush();
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
  PageBuffer buffer(images::kChunkBytes);
  read_chunk(buffer, chunk);
  const Step step("store {} bytes of memory at {:#x}", chunk.bytes, chunk.address);
  sys::pwrite_fully(fd_, buffer.data(), chunk.bytes, chunk.offset);
}

// Two threads, each with a buffer that stays in its processor's caches. Of little one is done before the other begins.
void PageWriter::copy_all(const std::vector<Chunk>& chunks, std::vector<PageRun>& runs) {
  std::vector<Segments> segments(chunks.size());
  std::atomic<size_t> next = 0;
  const uint64_t largest = std::ranges::max(chunks, {}, &Chunk::bytes).bytes;
  const auto work = [&](PageBuffer& buffer, LastPage& last) {
    if (buffer.size() < largest) buffer.resize(largest);
    for (size_t i = next++; i < chunks.size(); i = next++) {
      const Chunk& chunk = chunks[i];
      read_chunk(buffer, chunk);
      segments[i] = split(std::span(buffer).first(chunk.bytes), chunk.address, chunk.offset, last);
      const Step step("store {} bytes of memory at {:#x}", chunk.bytes, chunk.address);
      for (const Segment& segment : segments[i])
        if (segment.source == PageRun::FILE)
          sys::pwrite_fully(fd_, buffer.data() + (segment.start - chunk.address), segment.bytes, segment.offset);
    }
  };
  std::future<void> other;
  const uint64_t bytes = chunks.back().offset + chunks.back().bytes - chunks.front().offset;
  if (chunks.size() > 1 && bytes >= kWorthAThread) other = begin_aside([&] { work(buffers_[1], last_[1]); });
  work(buffers_[0], last_[0]);
  if (other.valid()) other.get();
  for (size_t i = 0; i < chunks.size(); ++i) append(runs, chunks[i].begins, segments[i]);
  note_share(segments);
}

// Where most of the last batch was zeros, or had come before, the next is read before it is written: what is written
// only to be taken out again costs the more.
void PageWriter::note_share(std::span<const Segments> batch) {
  uint64_t all = 0, stored = 0;
  for (const Segments& segments : batch)
    for (const Segment& segment : segments) {
      all += segment.bytes;
      if (segment.source == PageRun::FILE) stored += segment.bytes;
    }
  comes_again_ = stored < all / 2;
}

void PageWriter::read_chunk(PageBuffer& buffer, const Chunk& chunk) const {
  const auto bytes = std::span(buffer).first(chunk.bytes);
  if (held_)
    held_->read(chunk.address, bytes);
  else
    read_pages(*memory_, chunk.address, bytes);
}

void PageWriter::hash(const std::vector<Chunk>& chunks, std::vector<PageRun>& runs) {
  if (chunks.empty()) return;
  const uint64_t begin = chunks.front().offset, end = chunks.back().offset + chunks.back().bytes;
  const sys::Window window(fd_, begin, end - begin);
  std::vector<Segments> batch;
  batch.reserve(chunks.size());
  for (const Chunk& chunk : chunks) {
    const auto content = window.bytes().subspan(chunk.offset - begin, chunk.bytes);
    const Segments& segments = batch.emplace_back(split(content, chunk.address, chunk.offset, last_[0]));
    append(runs, chunk.begins, segments);
    for (const Segment& segment : segments)
      if (segment.source != PageRun::FILE) remove(segment, chunk.offset + (segment.start - chunk.address));
  }
  note_share(batch);
  tell_stored(end);
}

// What need not be written at its end is a part of the file all the same.
void PageWriter::tell_stored(uint64_t end) const {
  if (!stored_) return;
  if (static_cast<uint64_t>(sys::stat_fd(fd_).st_size) < end) sys::truncate_fd(fd_, end);
  stored_(end);
}

void PageWriter::prepare_dedup(const std::vector<PageSource>& sources) {
  uint64_t bytes = 0;
  for (const PageSource& source : sources) bytes += source.bytes;
  if (!dedup_) dedup_.emplace(bytes / kPage);
}

bool PageWriter::is_stored(uint64_t offset, std::span<const std::byte> page, LastPage& last) const {
  if (last.offset != offset) {
    last.offset = 0;
    last.content.resize(kPage);
    for (size_t done = 0; done < kPage;) {
      const size_t n = sys::pread_some(fd_, last.content.data() + done, kPage - done, offset + done);
      if (n == 0) return false;  // not written yet, by the other thread
      done += n;
    }
    last.offset = offset;
    last.checksum = images::checksum_of(last.content.data(), kPage);
  }
  if (std::memcmp(last.content.data(), page.data(), kPage) == 0) return true;
  last.offset = 0;  // it may be on its way
  return false;
}

namespace {

// Of a few words only, as all is compared with what is found by it: most pages never come again.
uint64_t key_of(std::span<const std::byte> page) {
  uint64_t key = 0;
  for (size_t at = 40; at < kPage; at += 520) {
    uint64_t word = 0;
    std::memcpy(&word, page.data() + at, sizeof word);
    key = (key ^ word) * 0x9e3779b97f4a7c15;
    key ^= key >> 32;
  }
  return key;
}

}  // namespace

PageWriter::Segments PageWriter::split(std::span<const std::byte> content, uint64_t start, uint64_t offset,
                                       LastPage& last) {
  constexpr uint64_t kMostCuts = 16 << 10;  // runs take memory: from here on nothing is cut out any more
  if (is_zero(content)) return {{PageRun::ZERO, start, content.size(), 0, 0}};
  Segments segments;
  uint64_t begin = 0;
  const auto end_content = [&](uint64_t end) {
    if (begin == end) return;
    segments.push_back({PageRun::FILE, start + begin, end - begin, offset + begin,
                        images::checksum_of(content.data() + begin, end - begin)});
  };
  for (uint64_t at = 0; at < content.size() && cuts_ < kMostCuts; at += kPage) {
    const auto page = content.subspan(at, kPage);
    Segment known{PageRun::ZERO, start + at, kPage, 0, 0};
    if (!is_zero(page)) {
      const uint64_t key = key_of(page);
      const auto found = dedup_->find(key);
      if (!found) dedup_->note(key, {offset + at, 0, kPage});
      if (!found || !is_stored(found->offset, page, last)) continue;
      known.checksum = last.checksum;
      known.source = PageRun::REPEATED;
      known.offset = found->offset;
    }
    end_content(at);
    begin = at + kPage;
    const bool continues = !segments.empty() && segments.back().source == known.source &&
                           segments.back().offset == known.offset &&
                           segments.back().start + segments.back().bytes == known.start;
    if (continues)
      segments.back().bytes += kPage;
    else
      segments.push_back(known), ++cuts_;
  }
  end_content(content.size());
  return segments;
}

void PageWriter::append(std::vector<PageRun>& runs, bool begins, const Segments& segments) {
  for (const Segment& segment : segments) {
    const auto goes_on_in = [&](const PageRun& run) {
      if (run.source() != segment.source || run.start() + run.bytes() != segment.start) return false;
      if (segment.source == PageRun::FILE)
        return run.offset() + run.bytes() == segment.offset && run.bytes() % images::kChunkBytes == 0;
      return run.offset() == segment.offset;
    };
    const bool continues = !begins && !runs.empty() && goes_on_in(runs.back());
    begins = false;
    PageRun& run = continues ? runs.back() : runs.emplace_back();
    if (!continues) {
      run.set_source(segment.source), run.set_start(segment.start), run.set_offset(segment.offset);
      if (segment.source == PageRun::FILE) run.set_chunk_bytes(images::kChunkBytes);
      if (segment.source == PageRun::REPEATED) run.set_chunk_bytes(kPage), run.add_checksums(segment.checksum);
    }
    if (segment.source == PageRun::FILE) run.add_checksums(segment.checksum);
    run.set_bytes(run.bytes() + segment.bytes);
  }
}

// It was written before it was looked at. What belongs to no run must be zero.
void PageWriter::remove(const Segment& segment, uint64_t offset) const {
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
  const uint64_t before = streams_->pages_written();
  auto runs = streams_->write(extents, [&](const PageStreams::Extent&, uint64_t at, std::span<std::byte> out) {
    read_pages(*memory_, at, out);
  });
  pages_ += streams_->pages_written() - before;
  return runs;
}

// What the file has become shorter by meanwhile reads as zeros.
std::vector<PageRun> PageWriter::write_file_to_streams(int fd, uint32_t shared_id, uint64_t size) {
  std::vector<PageStreams::Extent> extents;
  for (uint64_t at = 0; at < size;) {
    const auto data = sys::try_seek(fd, static_cast<int64_t>(at), SEEK_DATA);
    if (!data || *data >= size) break;
    const uint64_t start = *data / kPage * kPage;
    const uint64_t hole = std::min(size, sys::try_seek(fd, static_cast<int64_t>(start), SEEK_HOLE).value_or(size));
    at = (std::max(hole, start + 1) + kPage - 1) / kPage * kPage;
    extents.push_back({start, at - start});
  }
  const uint64_t before = streams_->pages_written();
  auto runs = streams_->write(extents, [fd](const PageStreams::Extent&, uint64_t at, std::span<std::byte> out) {
    for (size_t done = 0; done < out.size();) {
      const size_t n = sys::pread_some(fd, out.data() + done, out.size() - done, at + done);
      if (n == 0) std::ranges::fill(out.subspan(done), std::byte{0});
      done = n == 0 ? out.size() : done + n;
    }
  });
  for (PageRun& run : runs) run.set_shared(shared_id);
  pages_ += streams_->pages_written() - before;
  return runs;
}

std::vector<PageRun> PageWriter::write_file(int fd, uint32_t shared_id, uint64_t size) {
  if (streams_) return write_file_to_streams(fd, shared_id, size);
  std::vector<PageRun> runs;
  PageBuffer buffer(images::kChunkBytes);
  prepare_dedup({{0, size, true}});
  uint64_t told = offset_;
  for (uint64_t at = 0; at < size;) {
    const auto data = sys::try_seek(fd, static_cast<int64_t>(at), SEEK_DATA);
    if (!data || *data >= size) break;
    at = *data / kPage * kPage;
    const uint64_t start = at;
    const uint64_t hole = std::min(size, sys::try_seek(fd, static_cast<int64_t>(start), SEEK_HOLE).value_or(size));
    while (at < hole) {
      const size_t n = sys::pread_some(fd, buffer.data(), std::min<uint64_t>(buffer.size(), hole - at), at);
      if (n == 0) break;
      const size_t padded = (n + kPage - 1) / kPage * kPage;
      std::ranges::fill(std::span(buffer).subspan(n, padded - n), std::byte{0});
      const Segments segments = split(std::span(buffer).first(padded), at, offset_, last_[0]);
      for (const Segment& segment : segments)
        if (segment.source == PageRun::FILE)
          sys::pwrite_fully(fd_, buffer.data() + (segment.start - at), segment.bytes, segment.offset);
      append(runs, at == start, segments);
      offset_ += padded;
      at += padded;
      if (offset_ - told >= kBatchBytes) tell_stored(told = offset_);
    }
    pages_ += (at - start) / kPage;
    if (at == start) break;  // it has become shorter
  }
  for (PageRun& run : runs) run.set_shared(shared_id);
  return runs;
}

}  // namespace mcr::mem
