#include "core/mem/page_reader.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <optional>
#include <thread>

#include "core/base/aside.h"
#include "core/base/error.h"
#include "core/base/page_buffer.h"
#include "core/mem/fill_queue.h"
#include "core/mem/filling.h"
#include "core/mem/placed_pages.h"
#include "core/sys/file.h"
#include "core/sys/stream.h"
#include "core/trace/remote_memory.h"
#include "images/page_content.h"

namespace mcr::mem {
namespace {

using image::PageRun;

constexpr uint64_t kBatchBytes = 8 << 20;
constexpr uint64_t kPieceBytes = 1 << 20;  // stays in the cache between being populated and being read
constexpr uint64_t kOurPieceBytes = 256 << 10;
constexpr uint64_t kWorthPopulating = 64 << 10;
constexpr uint64_t kWorthAThread = 4 << 20;
constexpr uint64_t kPopulateWrite = 23;  // MADV_POPULATE_WRITE, 5.14: a third less than one fault a page
constexpr size_t kMaxVectors = 1024;
constexpr unsigned kMostThreads = 64;

// Pieces of whole chunks, small enough for a system call (2 GiB less a page) and for the threads to share the work.
void cut(const PageRun& run, size_t index, uint64_t most, Piece::Way way, std::vector<Piece>& out) {
  if (run.chunk_bytes() != 0) most = std::max<uint64_t>(most / run.chunk_bytes(), 1) * run.chunk_bytes();
  for (uint64_t done = 0; done < run.bytes(); done += most)
    out.push_back({run.start() + done, std::min(most, run.bytes() - done), index, way});
}

uint64_t offset_of(const RestoreMemory& memory, const Piece& piece) {
  const PageRun& run = memory.runs[piece.run];
  return run.offset() + (piece.address - run.start());
}

std::vector<Group> group(const RestoreMemory& memory, const std::vector<Piece>& pieces) {
  std::vector<Group> groups;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const uint64_t offset = offset_of(memory, pieces[i]);
    const bool fits = !groups.empty() && groups.back().count < kMaxVectors && groups.back().bytes < kPieceBytes &&
                      groups.back().offset + groups.back().bytes == offset;
    if (!fits) groups.push_back({i, 0, offset, 0});
    ++groups.back().count;
    groups.back().bytes += pieces[i].bytes;
  }
  return groups;
}

struct Reading {  // by the process: groups, and the call that reads each
  inject::Batch batch;
  std::vector<std::pair<size_t, size_t>> calls;
};

// A page that several runs have must stay.
std::vector<uint64_t> repeated_pages(const RestoreMemory& memory) {
  std::vector<uint64_t> pages;
  for (const PageRun& run : memory.runs)
    if (run.source() == PageRun::REPEATED) pages.push_back(run.offset() / 4096 * 4096);
  std::ranges::sort(pages);
  return pages;
}

class Filler {
 public:
  // flushes: new pages are put on a list of the kernel at once, not when a batch of the processor is full (mm/swap.c).
  Filler(inject::NewProcess& process, const RestoreMemory& memory, uint64_t base, FillQueue& queue,
         const PlacedPages* placed, bool flushes)
      : process_(process),
        memory_(memory),
        base_(base),
        queue_(queue),
        placed_(placed),
        flushes_(flushes),
        owner_{memory.pid, memory.pages_name},
        kept_(memory.release ? repeated_pages(memory) : std::vector<uint64_t>()),
        remote_(process.pid()) {}

  // Both throw, and then the other threads end too.
  void by_process() {
    guarded([&] { run_batches(); });
  }
  void by_us() {
    guarded([&] { copy_pieces(); });
  }
  uint64_t pages() const { return pages_; }

 private:
  template <typename Work>
  void guarded(const Work& work) {
    try {
      work();
    } catch (...) {
      queue_.stop();
      throw;
    }
  }
  void run_batches();
  void finish(Reading& reading);
  size_t add_read(inject::Batch& batch, const Group& group) const;
  void check(const Group& group) const;
  void copy_pieces();
  void put(const Piece& piece, uint64_t address, std::span<const std::byte> content) const;
  void note_filled(uint64_t bytes);
  void release(uint64_t offset, uint64_t bytes) const;

  inject::NewProcess& process_;
  const RestoreMemory& memory_;
  const uint64_t base_;
  FillQueue& queue_;
  const PlacedPages* placed_;
  const bool flushes_;
  const images::MemoryOwner owner_;
  const std::vector<uint64_t> kept_;  // of the pages file, when the others are released
  const trace::RemoteMemory remote_;
  std::atomic<uint64_t> pages_ = 0;
};

// Returns the index of the read; the populating calls before it may fail, then the read faults the pages in.
size_t Filler::add_read(inject::Batch& batch, const Group& group) const {
  memory_.pages->bring(group.offset, group.bytes);
  std::vector<iovec> parts;
  for (size_t i = 0; i < group.count; ++i) {
    const Piece& piece = queue_.pieces_of_groups()[group.first + i];
    parts.push_back({reinterpret_cast<void*>(base_ + piece.address), piece.bytes});
    if (piece.bytes >= kWorthPopulating)
      batch.try_add("madvise", SYS_madvise, {base_ + piece.address, piece.bytes, kPopulateWrite});
  }
  const RemoteAddr vector = batch.put(std::as_bytes(std::span(parts)));
  const size_t read =
      batch.add("preadv", SYS_preadv,
                {static_cast<uint64_t>(memory_.remote_pages_fd), vector.get(), parts.size(), group.offset, 0});
  if (flushes_) batch.try_add("madvise(MADV_COLD)", SYS_madvise, {vector.get() / 4096 * 4096, 4096, MADV_COLD});
  return read;
}

void Filler::check(const Group& group) const {
  const sys::Window window(memory_.pages->get(), group.offset, group.bytes);
  uint64_t at = 0;
  for (size_t i = 0; i < group.count; ++i) {
    const Piece& piece = queue_.pieces_of_groups()[group.first + i];
    const PageRun& run = memory_.runs[piece.run];
    uint64_t index = (piece.address - run.start()) / run.chunk_bytes();
    for (uint64_t done = 0; done < piece.bytes; ++index) {
      const uint64_t bytes = std::min<uint64_t>(run.chunk_bytes(), piece.bytes - done);
      if (images::checksum_of(window.data() + at, bytes) != run.checksums(static_cast<int>(index)))
        throw Error(
            Fault::image,
            fmt::format("{} at offset {}: checksum of {} bytes differs", memory_.pages_name, group.offset + at, bytes),
            "the image is damaged: use another copy");
      done += bytes, at += bytes;
    }
  }
}

void Filler::release(uint64_t offset, uint64_t bytes) const {
  const uint64_t end = offset + bytes;
  for (auto page = std::ranges::lower_bound(kept_, offset); page != kept_.end() && *page < end; ++page) {
    if (*page > offset) sys::punch_hole(memory_.pages->get(), offset, *page - offset);
    offset = *page + 4096;
  }
  if (offset < end) sys::punch_hole(memory_.pages->get(), offset, end - offset);
}

void Filler::note_filled(uint64_t bytes) {
  pages_ += bytes / 4096;
  if (memory_.progress) memory_.progress->done += bytes;
}

void Filler::finish(Reading& reading) {
  process_.channel().finish(reading.batch);
  for (const auto& [index, call] : reading.calls) {
    const Group& group = queue_.group(index);
    const int64_t result = reading.batch.result(call);
    if (result != static_cast<int64_t>(group.bytes))
      throw Error(Fault::image, fmt::format("{}: {} of {} bytes at offset {}", memory_.pages_name, result, group.bytes,
                                            group.offset));
    note_filled(group.bytes);
    if (memory_.release) release(group.offset, group.bytes);
  }
}

// A batch is laid out while the process executes the one before.
void Filler::run_batches() {
  std::optional<Reading> before;
  std::optional<size_t> next = queue_.take_group();
  while (next) {
    Reading reading{process_.channel().batch(), {}};
    for (uint64_t bytes = 0; next && bytes < kBatchBytes; next = queue_.take_group()) {
      const Group& group = queue_.group(*next);
      if (!reading.batch.has_room_for(group.count * (sizeof(iovec) + sizeof(parasite::Call)) + 256)) break;
      reading.calls.emplace_back(*next, add_read(reading.batch, group));
      bytes += group.bytes;
    }
    if (before) finish(*before);
    process_.channel().start(reading.batch);
    for (const auto& [index, call] : reading.calls) check(queue_.group(index));
    before.emplace(std::move(reading));
  }
  if (before) finish(*before);
}

void flush_batch() {
  alignas(4096) std::byte page[4096];
  page[0] = std::byte{1};
  ::madvise(page, sizeof page, MADV_COLD);
}

// Pages of a mapping that was never writable are made by a debugger, and by us as by one.
void Filler::put(const Piece& piece, uint64_t address, std::span<const std::byte> content) const {
  if (piece.way == Piece::Way::placed)
    placed_->put(base_ + address, content);
  else if (piece.way == Piece::Way::from_outside)
    remote_.write(RemoteAddr(base_ + address), content);
  else
    sys::write_memory(process_.pid(), RemoteAddr(base_ + address), content.data(), content.size());
}

void Filler::copy_pieces() {
  PageBuffer buffer;
  while (const auto piece = queue_.take_piece()) {
    const PageRun& run = memory_.runs[piece->run];
    // A chunk that is larger than the buffers of the engine may be comes in parts.
    for (uint64_t done = 0; done < piece->bytes;) {
      const uint64_t bytes = std::min<uint64_t>(piece->bytes - done, kPieceBytes), at = piece->address + done;
      buffer.resize(std::max<size_t>(buffer.size(), bytes));
      const auto part = std::span(buffer).first(bytes);
      memory_.content->read(owner_, run, at, part);
      put(*piece, at, part);
      done += bytes;
    }
    note_filled(piece->bytes);
    if (memory_.release && run.source() == PageRun::FILE) release(offset_of(memory_, *piece), piece->bytes);
  }
  if (flushes_) flush_batch();
}

unsigned helpers_for(const RestoreMemory& memory, uint64_t bytes) {
  if (bytes < kWorthAThread) return 0;
  const unsigned wanted = memory.threads != 0 ? memory.threads : std::min(std::thread::hardware_concurrency(), 4u);
  return static_cast<unsigned>(std::min<uint64_t>({std::max(wanted, 2u) - 1, kMostThreads, bytes / kWorthAThread}));
}

}  // namespace

namespace {

bool is_of_lazily_freed(const RestoreMemory& memory, const PageRun& run) {
  const auto vma =
      std::ranges::partition_point(memory.vmas, [&](const image::Vma& m) { return m.end() <= run.start(); });
  return run.shared() == 0 && vma != memory.vmas.end() && vma->lazily_freed();
}

Piece::Way way_of(const RestoreMemory& memory, const PlacedPages* placed, const PageRun& run) {
  if (placed && placed->covers(run)) return Piece::Way::placed;
  return is_filled_from_outside(memory, run) ? Piece::Way::from_outside : Piece::Way::ordinary;
}

// The pages of lazily freed mappings are left to the process: MADV_FREE passes over those that still wait in a batch of
// another processor than the one that it is called on.
uint64_t fill_part(inject::NewProcess& process, const RestoreMemory& memory, uint32_t shared, uint64_t base,
                   bool lazily_freed, const PlacedPages* placed) {
  std::vector<Piece> theirs, ours;
  uint64_t bytes = 0;
  for (size_t i = 0; i < memory.runs.size(); ++i) {
    const PageRun& run = memory.runs[i];
    if (run.shared() != shared || (shared == 0 && (is_ready(memory, run.start()) || is_late(memory, run.start()))))
      continue;
    if (is_of_lazily_freed(memory, run) != lazily_freed) continue;
    memory.content->check_shape({memory.pid, memory.pages_name}, run);
    bytes += run.bytes();
    const Piece::Way way = way_of(memory, placed, run);
    if (run.source() == PageRun::FILE && way == Piece::Way::ordinary)
      cut(run, i, kPieceBytes, way, theirs);
    else
      cut(run, i, run.source() == PageRun::STREAMS ? kPieceBytes : kOurPieceBytes, way, ours);
  }
  std::vector<Group> groups = group(memory, theirs);
  FillQueue queue(std::move(theirs), std::move(groups), std::move(ours));
  Filler filler(process, memory, base, queue, placed, lazily_freed);
  std::vector<std::future<void>> helpers;
  for (unsigned i = lazily_freed ? 0 : helpers_for(memory, bytes); i > 0; --i)
    helpers.push_back(begin_aside([&] { filler.by_us(); }));
  filler.by_process();
  filler.by_us();
  for (auto& helper : helpers) helper.get();
  return filler.pages();
}

}  // namespace

uint64_t fill(inject::NewProcess& process, const RestoreMemory& memory, uint32_t shared, uint64_t base) {
  const Step step("fill pages");
  std::optional<const PlacedPages> placed;  // shared memory has an object of its own, and its ways
  if (shared == 0) placed.emplace(process, memory);
  const uint64_t pages = fill_part(process, memory, shared, base, false, placed ? &*placed : nullptr);
  placed.reset();
  const bool is_more = shared == 0 && std::ranges::any_of(memory.vmas, [](const auto& m) { return m.lazily_freed(); });
  return is_more ? pages + fill_part(process, memory, shared, base, true, nullptr) : pages;
}

}  // namespace mcr::mem
