#include "core/inspect/core_segments.h"

#include <elf.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace mcr::inspect {
namespace {

using image::Vma;

constexpr uint64_t kPage = 4096;
// What lies between stored pages is stored too, up to so much: another segment costs a debugger more than that.
constexpr uint64_t kLargestGap = 1 << 20;

struct Range {
  uint64_t start, end;
};

// Its first page names the file (its build-id) where the file itself is not at hand.
bool begins_elf_file(ProcessMemory& memory, const Vma& vma, const ProcessMemory::Piece& piece) {
  std::array<char, SELFMAG> magic{};
  return piece.start == vma.start() && vma.offset() == 0 && (vma.prot() & PROT_READ) != 0 &&
         memory.read_exactly(vma.start(), std::as_writable_bytes(std::span(magic))) &&
         std::memcmp(magic.data(), ELFMAG, SELFMAG) == 0;
}

class Cutter {
 public:
  Cutter(ProcessMemory& memory, const Vma& vma, bool with_files) : vma_(vma) {
    bool can_join = false;
    for (const auto& piece : memory.pieces_of(vma)) {
      if (piece.source == Source::missing) missing_.push_back({piece.start, piece.end});
      if (piece.source == Source::missing) can_join = false;
      Range range = stored_part(memory, piece, with_files);
      if (range.start >= range.end) continue;
      if (can_join && range.start <= stored_.back().end + kLargestGap)
        stored_.back().end = std::max(stored_.back().end, range.end);
      else
        stored_.push_back(range);
      can_join = true;
    }
  }

  void append_to(std::vector<CoreSegment>& segments) const {
    uint64_t at = vma_.start();
    for (const Range& range : stored_) {
      append_unstored(at, range.start, segments);
      segments.push_back({range.start, range.end, vma_.prot(), true});
      at = range.end;
    }
    append_unstored(at, vma_.end(), segments);
  }

 private:
  // Zeros are stored, as a hole, where a debugger would look into the file instead.
  Range stored_part(ProcessMemory& memory, const ProcessMemory::Piece& piece, bool with_files) const {
    const bool shows_file = vma_.kind() == Vma::PRIVATE_FILE || vma_.kind() == Vma::SHARED_FILE;
    const Range whole{piece.start / kPage * kPage, std::min((piece.end + kPage - 1) / kPage * kPage, vma_.end())};
    if (piece.source == Source::image || (piece.source == Source::zeros && shows_file)) return whole;
    if (piece.source != Source::file) return {0, 0};
    if (with_files) return whole;
    return begins_elf_file(memory, vma_, piece) ? Range{vma_.start(), vma_.start() + kPage} : Range{0, 0};
  }

  void append_unstored(uint64_t start, uint64_t end, std::vector<CoreSegment>& segments) const {
    auto none = std::ranges::partition_point(missing_, [&](const Range& r) { return r.end <= start; });
    for (; none != missing_.end() && none->start < end; ++none) {
      if (start < none->start) segments.push_back({start, none->start, vma_.prot(), false});
      start = std::max(start, none->end);
    }
    if (start < end) segments.push_back({start, end, vma_.prot(), false});
  }

  const Vma& vma_;
  std::vector<Range> stored_, missing_;
};

}  // namespace

std::vector<CoreSegment> core_segments(ProcessMemory& memory, bool with_files) {
  std::vector<CoreSegment> segments;
  for (const Vma& vma : memory.mappings()) Cutter(memory, vma, with_files).append_to(segments);
  return segments;
}

}  // namespace mcr::inspect
