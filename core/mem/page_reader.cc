#include "core/mem/page_reader.h"

#include <sys/syscall.h>
#include <sys/uio.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/mem/filling.h"
#include "core/sys/file.h"
#include "core/trace/remote_memory.h"
#include "images/store.h"

namespace mcr::mem {
namespace {

using image::PageRun;

constexpr uint64_t kBatchBytes = 32 << 20;
constexpr uint64_t kPieceBytes = 1 << 20;  // stays in the cache between being populated and being read
constexpr uint64_t kWorthPopulating = 64 << 10;
constexpr uint64_t kPopulateWrite = 23;  // MADV_POPULATE_WRITE, 5.14: a third less than one fault a page
constexpr size_t kMaxVectors = 1024;

struct Piece {  // a part of a run, made of whole chunks
  uint64_t address, bytes, offset;
  size_t run;
  int first_chunk;
};

struct Group {  // pieces that lie one behind the other in the file, with one preadv
  size_t first, count;
  uint64_t offset, bytes;
};

void check_shape(const PageRun& run, uint64_t file_bytes, const std::string& name) {
  if (run.offset() > file_bytes || run.bytes() > file_bytes - run.offset())
    throw Error(Fault::image, fmt::format("{}: a run at offset {} reaches beyond its end", name, run.offset()));
  const uint64_t chunk = run.chunk_bytes();
  if (chunk == 0 || chunk % 4096 != 0 ||
      (run.bytes() + chunk - 1) / chunk != static_cast<uint64_t>(run.checksums_size()))
    throw Error(Fault::image,
                fmt::format("{}: a run at offset {} has the wrong number of checksums", name, run.offset()));
}

void check_piece(const PageRun& run, const Piece& piece, std::span<const std::byte> file, const std::string& name) {
  int chunk = piece.first_chunk;
  for (uint64_t done = 0; done < piece.bytes; ++chunk) {
    const uint64_t bytes = std::min<uint64_t>(run.chunk_bytes(), piece.bytes - done);
    if (images::checksum_of(file.data() + piece.offset + done, bytes) != run.checksums(chunk))
      throw Error(Fault::image,
                  fmt::format("{} at offset {}: checksum of {} bytes differs", name, piece.offset + done, bytes),
                  "the image is damaged: use another copy");
    done += bytes;
  }
}

// Pieces are small enough for one system call (2 GiB less a page) and for reading and checking to overlap. `foreign`
// gets those that the process cannot write to itself.
std::vector<Piece> cut(const RestoreMemory& memory, uint32_t shared, std::vector<Piece>& foreign) {
  std::vector<Piece> own;
  const auto& runs = memory.runs;
  for (size_t i = 0; i < runs.size(); ++i) {
    const PageRun& run = runs[i];
    if (run.shared() != shared || (shared == 0 && is_ready(memory, run.start()))) continue;
    std::vector<Piece>& pieces = is_filled_from_outside(memory, run) ? foreign : own;
    const uint64_t most = std::max<uint64_t>(kPieceBytes / run.chunk_bytes(), 1) * run.chunk_bytes();
    for (uint64_t done = 0; done < run.bytes(); done += most)
      pieces.push_back({run.start() + done, std::min(most, run.bytes() - done), run.offset() + done, i,
                        static_cast<int>(done / run.chunk_bytes())});
  }
  return own;
}

// Pages of a mapping that was never writable: made by a debugger, and by us as by one.
uint64_t fill_from_outside(inject::NewProcess& process, const RestoreMemory& memory, const std::vector<Piece>& pieces,
                           std::span<const std::byte> file) {
  if (pieces.empty()) return 0;
  const trace::RemoteMemory target(process.pid());
  uint64_t pages = 0;
  for (const Piece& piece : pieces) {
    check_piece(memory.runs[piece.run], piece, file, memory.pages_name);
    target.write(RemoteAddr(piece.address), file.subspan(piece.offset, piece.bytes));
    pages += piece.bytes / 4096;
  }
  return pages;
}

std::vector<Group> group(const std::vector<Piece>& pieces) {
  std::vector<Group> groups;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    const bool fits = !groups.empty() && groups.back().count < kMaxVectors && groups.back().bytes < kPieceBytes &&
                      groups.back().offset + groups.back().bytes == piece.offset;
    if (!fits) groups.push_back({i, 0, piece.offset, 0});
    ++groups.back().count;
    groups.back().bytes += piece.bytes;
  }
  return groups;
}

// Returns the index of the read; the populating calls before it may fail, then the read faults the pages in.
size_t add_read(inject::Batch& batch, const RestoreMemory& memory, const std::vector<Piece>& pieces, const Group& group,
                uint64_t base) {
  std::vector<iovec> parts;
  for (size_t i = 0; i < group.count; ++i) {
    const Piece& piece = pieces[group.first + i];
    parts.push_back({reinterpret_cast<void*>(base + piece.address), piece.bytes});
    if (piece.bytes >= kWorthPopulating)
      batch.try_add("madvise", SYS_madvise, {base + piece.address, piece.bytes, kPopulateWrite});
  }
  const RemoteAddr vector = batch.put(std::as_bytes(std::span(parts)));
  return batch.add("preadv", SYS_preadv,
                   {static_cast<uint64_t>(memory.remote_pages_fd), vector.get(), parts.size(), group.offset, 0});
}

}  // namespace

std::span<const std::byte> checked_bytes(const PageRun& run, uint64_t start, uint64_t bytes,
                                         std::span<const std::byte> file, const std::string& name) {
  check_shape(run, file.size(), name);
  const uint64_t chunk = run.chunk_bytes(), skipped = start - run.start(), first = skipped / chunk;
  const uint64_t end = std::min((skipped + bytes + chunk - 1) / chunk * chunk, run.bytes());
  check_piece(run, {0, end - first * chunk, run.offset() + first * chunk, 0, static_cast<int>(first)}, file, name);
  return file.subspan(run.offset() + skipped, bytes);
}

uint64_t fill(inject::NewProcess& process, const RestoreMemory& memory, uint32_t shared, uint64_t base) {
  const Step step("fill pages");
  const sys::FileMapping file(memory.pages_fd, static_cast<size_t>(sys::stat_fd(memory.pages_fd).st_size));
  for (const PageRun& run : memory.runs)
    if (run.shared() == shared) check_shape(run, file.bytes().size(), memory.pages_name);
  std::vector<Piece> foreign;
  const std::vector<Piece> pieces = cut(memory, shared, foreign);
  const std::vector<Group> groups = group(pieces);
  uint64_t pages = fill_from_outside(process, memory, foreign, file.bytes());
  for (size_t next = 0; next < groups.size();) {
    inject::Batch batch = process.channel().batch();
    const size_t first = next;
    std::vector<size_t> reads;
    for (uint64_t bytes = 0; next < groups.size() && bytes < kBatchBytes &&
                             batch.has_room_for(groups[next].count * (sizeof(iovec) + sizeof(parasite::Call)) + 256);
         ++next) {
      reads.push_back(add_read(batch, memory, pieces, groups[next], base));
      bytes += groups[next].bytes;
    }
    process.channel().start(batch);
    for (size_t g = first; g < next; ++g)
      for (size_t i = 0; i < groups[g].count; ++i) {
        const Piece& piece = pieces[groups[g].first + i];
        check_piece(memory.runs[piece.run], piece, file.bytes(), memory.pages_name);
      }
    process.channel().finish(batch);
    for (size_t g = first; g < next; ++g) {
      if (batch.result(reads[g - first]) != static_cast<int64_t>(groups[g].bytes))
        throw Error(Fault::image, fmt::format("{}: {} of {} bytes at offset {}", memory.pages_name,
                                              batch.result(reads[g - first]), groups[g].bytes, groups[g].offset));
      pages += groups[g].bytes / 4096;
    }
  }
  return pages;
}

}  // namespace mcr::mem
