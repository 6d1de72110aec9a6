#include "core/inspect/elf_core.h"

#include <elf.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "core/base/error.h"
#include "core/inspect/core_notes.h"
#include "core/inspect/core_segments.h"
#include "core/sys/file.h"
#include "core/sys/file_system.h"

namespace mcr::inspect {
namespace {

constexpr uint64_t kPage = 4096;
constexpr size_t kAtOnce = 1 << 20;

Elf64_Phdr header_of(const CoreSegment& segment, uint64_t offset) {
  Elf64_Phdr header{};
  header.p_type = PT_LOAD;
  header.p_flags = (segment.prot & PROT_READ ? PF_R : 0u) | (segment.prot & PROT_WRITE ? PF_W : 0u) |
                   (segment.prot & PROT_EXEC ? PF_X : 0u);
  header.p_offset = offset;
  header.p_vaddr = segment.start;
  header.p_filesz = segment.is_stored ? segment.end - segment.start : 0;
  header.p_memsz = segment.end - segment.start;
  header.p_align = kPage;
  return header;
}

// Where everything lies in the file.
class Layout {
 public:
  Layout(const std::vector<CoreSegment>& segments, uint64_t notes_bytes) {
    Elf64_Phdr notes{};
    notes.p_type = PT_NOTE;
    notes.p_offset = sizeof(Elf64_Ehdr) + (segments.size() + 1) * sizeof(Elf64_Phdr);
    notes.p_filesz = notes_bytes;
    notes.p_align = 4;
    headers_.push_back(notes);
    uint64_t at = (notes.p_offset + notes_bytes + kPage - 1) / kPage * kPage;
    for (const CoreSegment& segment : segments) {
      headers_.push_back(header_of(segment, at));
      at += headers_.back().p_filesz;
      if (at > INT64_MAX) throw Error(Fault::refused, "the memory of the process is more than a file can hold");
    }
    end_ = at;
  }

  // More headers than e_phnum can say are counted in the first section header, which stands at the end.
  bool has_section() const { return headers_.size() >= PN_XNUM; }
  uint64_t bytes() const { return end_ + (has_section() ? sizeof(Elf64_Shdr) : 0); }
  uint64_t offset_of(size_t segment) const { return headers_[segment + 1].p_offset; }
  uint64_t notes_offset() const { return headers_.front().p_offset; }

  void write(int file) const {
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64, header.e_ident[EI_DATA] = ELFDATA2LSB,
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_CORE, header.e_machine = EM_X86_64, header.e_version = EV_CURRENT;
    header.e_phoff = header.e_ehsize = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = static_cast<Elf64_Half>(has_section() ? PN_XNUM : headers_.size());
    if (has_section()) {
      Elf64_Shdr section{};
      section.sh_size = 1, section.sh_info = static_cast<Elf64_Word>(headers_.size());
      header.e_shoff = end_, header.e_shentsize = sizeof section, header.e_shnum = 1;
      sys::pwrite_fully(file, &section, sizeof section, end_);
    }
    sys::pwrite_fully(file, &header, sizeof header, 0);
    sys::pwrite_fully(file, headers_.data(), headers_.size() * sizeof(Elf64_Phdr), sizeof header);
  }

 private:
  std::vector<Elf64_Phdr> headers_;
  uint64_t end_ = 0;
};

// Pages of zeros stay holes. Returns the bytes that were written.
uint64_t write_pages(int file, uint64_t offset, std::span<const std::byte> bytes) {
  uint64_t written = 0;
  const auto is_zero = [&](size_t at) {
    const auto page = bytes.subspan(at, std::min<size_t>(kPage, bytes.size() - at));
    return std::ranges::all_of(page, [](std::byte b) { return b == std::byte{0}; });
  };
  for (size_t at = 0; at < bytes.size();) {
    size_t end = at;
    while (end < bytes.size() && !is_zero(end)) end = std::min<size_t>(end + kPage, bytes.size());
    if (end > at) sys::pwrite_fully(file, bytes.data() + at, end - at, offset + at);
    written += end - at;
    at = end + kPage;
  }
  return written;
}

class CoreWriter {
 public:
  CoreWriter(ProcessMemory& memory, int file) : memory_(memory), file_(file) {}

  // Only what is not zeros anyway, so that the time is that of what the image holds.
  void write(const CoreSegment& segment, uint64_t offset) {
    for (uint64_t at = segment.start; at < segment.end;) {
      const image::Vma* vma = memory_.mapping_at(at);
      if (vma != vma_) pieces_ = memory_.pieces_of(*(vma_ = vma)), next_ = 0;
      while (next_ + 1 < pieces_.size() && pieces_[next_].end <= at) ++next_;
      const auto& piece = pieces_[next_];
      const uint64_t end = std::min(piece.end, segment.end);
      if (piece.source == Source::image || piece.source == Source::file)
        write_part(at, end, offset + (at - segment.start));
      at = end;
    }
  }
  uint64_t written() const { return written_; }

 private:
  void write_part(uint64_t start, uint64_t end, uint64_t offset) {
    for (uint64_t at = start; at < end;) {
      const size_t wanted = std::min<uint64_t>(end - at, kAtOnce);
      buffer_.resize(wanted);
      if (memory_.read(at, buffer_) != wanted)
        throw Error(Fault::system, fmt::format("the memory at {:#x} has gone meanwhile", at));
      written_ += write_pages(file_, offset + (at - start), buffer_);
      at += wanted;
    }
  }

  ProcessMemory& memory_;
  int file_;
  const image::Vma* vma_ = nullptr;
  std::vector<ProcessMemory::Piece> pieces_;
  size_t next_ = 0;
  std::vector<std::byte> buffer_;
  uint64_t written_ = 0;
};

uint64_t stored_bytes(const std::vector<CoreSegment>& segments, ProcessMemory& memory) {
  uint64_t bytes = 0;
  auto segment = segments.begin();
  for (const image::Vma& vma : memory.mappings())
    for (const auto& piece : memory.pieces_of(vma)) {
      if (piece.source != Source::image && piece.source != Source::file) continue;
      while (segment != segments.end() && segment->end <= piece.start) ++segment;
      for (auto i = segment; i != segments.end() && i->start < piece.end; ++i)
        if (i->is_stored) bytes += std::min(i->end, piece.end) - std::max(i->start, piece.start);
    }
  return bytes;
}

// An image can say in few bytes that much memory is alike.
void require_room(int file, uint64_t bytes) {
  const uint64_t room = sys::free_bytes(file);
  if (bytes > room)
    throw Error(Fault::refused, fmt::format("the core takes {} bytes, and its file system has {} left", bytes, room),
                "write it elsewhere");
}

std::vector<std::string> missing_files(ProcessMemory& memory) {
  std::set<std::string> reasons;
  for (const image::Vma& vma : memory.mappings()) {
    if (memory.file_name(vma).empty()) continue;
    if (const std::string why = memory.why_missing(vma); !why.empty()) reasons.insert(why);
  }
  return {reasons.begin(), reasons.end()};
}

std::string executable_of(const SavedTree& tree, const tree::ProcessImage& process) {
  image::RegularFile file;
  return tree.files().object(process.map.exe_file()).body().UnpackTo(&file) ? file.path() : std::string();
}

}  // namespace

CoreReport write_core(const SavedTree& tree, int32_t pid, int file, bool with_files) {
  const Step step("process {}", pid);
  const tree::ProcessImage& process = tree.process(pid);
  ProcessMemory memory(tree, pid);
  const std::string notes = core_notes(tree, process, memory);
  const std::vector<CoreSegment> segments = core_segments(memory, with_files);
  const Layout layout(segments, notes.size());
  require_room(file, stored_bytes(segments, memory) + layout.notes_offset() + notes.size());
  sys::truncate_fd(file, layout.bytes());
  layout.write(file);
  sys::pwrite_fully(file, notes.data(), notes.size(), layout.notes_offset());
  CoreWriter writer(memory, file);
  for (size_t i = 0; i < segments.size(); ++i)
    if (segments[i].is_stored) writer.write(segments[i], layout.offset_of(i));
  CoreReport report{.mappings = process.vmas.size(), .bytes = layout.bytes(), .stored_bytes = writer.written()};
  report.threads =
      static_cast<uint64_t>(std::ranges::count_if(process.threads, [](const auto& t) { return !t.has_ended(); }));
  report.executable = executable_of(tree, process);
  report.missing = missing_files(memory);
  return report;
}

}  // namespace mcr::inspect
