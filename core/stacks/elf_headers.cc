#include "core/stacks/elf_headers.h"

#include <algorithm>
#include <cstring>

#include "core/kinds/build_id.h"

namespace mcr::stacks {
namespace {

constexpr uint16_t kMostSegments = 128, kMostSections = 4096;
constexpr uint64_t kMostNoteBytes = 65536;
constexpr uint64_t kMostTableEntries = 1u << 26;

template <typename T>
bool read_value(const ReadBytes& read, uint64_t offset, T& value) {
  return read(offset, std::as_writable_bytes(std::span(&value, 1)));
}

// The value of this encoding (Linux Standard Base, "DWARF Exception Header Encoding") at `at`, which moves behind it.
// Only how wide it is matters to us, and the value of a count.
std::optional<uint64_t> read_encoded(const ReadBytes& read, uint8_t encoding, uint64_t& at) {
  constexpr uint8_t kUnsigned4 = 0x03, kUnsigned8 = 0x04, kSigned4 = 0x0b, kSigned8 = 0x0c;
  const uint8_t form = encoding & 0x0f;
  if (form == kUnsigned4 || form == kSigned4) {
    uint32_t value;
    if (!read_value(read, at, value)) return std::nullopt;
    at += sizeof value;
    return value;
  }
  if (form == kUnsigned8 || form == kSigned8) {
    uint64_t value;
    if (!read_value(read, at, value)) return std::nullopt;
    at += sizeof value;
    return value;
  }
  return std::nullopt;
}

}  // namespace

std::optional<ElfHeaders> read_elf_headers(const ReadBytes& read) {
  Elf64_Ehdr header;
  if (!read_value(read, 0, header)) return std::nullopt;
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_phentsize != sizeof(Elf64_Phdr))
    return std::nullopt;
  ElfHeaders headers;
  headers.machine = header.e_machine;
  if (header.e_shentsize == sizeof(Elf64_Shdr)) {
    headers.section_table = header.e_shoff;
    headers.section_count = header.e_shnum;
    headers.section_names = header.e_shstrndx;
  }
  if (header.e_phoff > INT64_MAX) return std::nullopt;
  for (uint16_t i = 0; i < std::min(header.e_phnum, kMostSegments); ++i) {
    Elf64_Phdr p;
    if (!read_value(read, header.e_phoff + uint64_t{i} * sizeof p, p)) break;
    headers.segments.push_back({p.p_type, p.p_flags, p.p_offset, p.p_vaddr, p.p_filesz, p.p_memsz});
  }
  return headers;
}

std::vector<Elf64_Shdr> read_sections(const ElfHeaders& headers, const ReadBytes& read) {
  if (headers.section_table == 0 || headers.section_table > INT64_MAX) return {};
  std::vector<Elf64_Shdr> sections(std::min(headers.section_count, kMostSections));
  if (!read(headers.section_table, std::as_writable_bytes(std::span(sections)))) return {};
  return sections;
}

bool has_content(const Elf64_Shdr& section) {
  return section.sh_type != SHT_NOBITS && section.sh_offset <= INT64_MAX && section.sh_size <= INT64_MAX;
}

std::string read_section_name(const std::vector<Elf64_Shdr>& sections, const ElfHeaders& headers,
                              const Elf64_Shdr& section, const ReadBytes& read) {
  constexpr uint64_t kLongest = 64;
  if (headers.section_names >= sections.size()) return {};
  const Elf64_Shdr& names = sections[headers.section_names];
  if (!has_content(names) || section.sh_name >= names.sh_size) return {};
  std::string name(std::min(names.sh_size - section.sh_name, kLongest), '\0');
  if (!read(names.sh_offset + section.sh_name, std::as_writable_bytes(std::span(name)))) return {};
  name.resize(std::min(name.find('\0'), name.size()));
  return name;
}

std::string read_build_id(const ElfHeaders& headers, const ReadBytes& read, bool by_address) {
  for (const Segment& segment : headers.segments) {
    if (segment.type != PT_NOTE || segment.file_bytes > kMostNoteBytes) continue;
    std::vector<std::byte> notes(segment.file_bytes);
    if (!read(by_address ? segment.address : segment.offset, notes)) continue;
    if (auto id = kinds::find_build_id(notes); !id.empty()) return id;
  }
  return {};
}

std::optional<uint64_t> address_of_offset(const ElfHeaders& headers, uint64_t offset, bool executable) {
  constexpr uint64_t kPage = 4096;
  for (const Segment& segment : headers.segments) {
    if (segment.type != PT_LOAD || ((segment.flags & PF_X) != 0) != executable) continue;
    const uint64_t first = segment.offset / kPage * kPage;  // it is mapped from the beginning of its page
    if (offset >= first && offset - first < segment.file_bytes + (segment.offset - first))
      return segment.address - (segment.offset - first) + (offset - first);
  }
  return std::nullopt;
}

std::optional<UnwindTable> find_unwind_table(const ElfHeaders& headers, const ReadBytes& read) {
  constexpr uint8_t kSortedTable = 0x3b;  // signed, four bytes, relative to the header: what every linker writes
  for (const Segment& segment : headers.segments) {
    if (segment.type != PT_GNU_EH_FRAME) continue;
    uint8_t start[4];  // version, encodings of the pointer to .eh_frame, of the count, of the table
    if (!read_value(read, segment.address, start) || start[0] != 1 || start[3] != kSortedTable) return std::nullopt;
    uint64_t at = segment.address + sizeof start;
    if (!read_encoded(read, start[1], at)) return std::nullopt;
    const auto count = read_encoded(read, start[2], at);
    if (!count || *count == 0 || *count > kMostTableEntries) return std::nullopt;
    return UnwindTable{segment.address, at, *count};
  }
  return std::nullopt;
}

}  // namespace mcr::stacks
