// What the walk needs of an ELF file, whether it lies on a disk or is mapped in a process. Files belong to the
// program's user, who may have written anything into them: every offset, size and count is bounded. Any thread.
#pragma once

#include <elf.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace mcr::stacks {

// All of the bytes at an offset, or false.
using ReadBytes = std::function<bool(uint64_t offset, std::span<std::byte> out)>;

struct Segment {
  uint32_t type = 0, flags = 0;
  uint64_t offset = 0, address = 0, file_bytes = 0, bytes = 0;
};

struct ElfHeaders {
  uint16_t machine = 0;
  std::vector<Segment> segments;
  uint64_t section_table = 0;                     // offset in the file; 0: none
  uint16_t section_count = 0, section_names = 0;  // section_names: the number of the section that has them
};

// nullopt: no 64-bit little-endian ELF file.
std::optional<ElfHeaders> read_elf_headers(const ReadBytes& read);
// Of a file: `read` takes offsets. Empty: there are none.
std::vector<Elf64_Shdr> read_sections(const ElfHeaders& headers, const ReadBytes& read);
std::string read_section_name(const std::vector<Elf64_Shdr>& sections, const ElfHeaders& headers,
                              const Elf64_Shdr& section, const ReadBytes& read);
bool has_content(const Elf64_Shdr& section);  // at a place that a file can have
// Hexadecimal, empty: none. by_address: `read` takes the addresses of the file, as a mapped one has them, and not
// offsets.
std::string read_build_id(const ElfHeaders& headers, const ReadBytes& read, bool by_address);
// The address in the file's own numbering of what lies at this offset of it, in a segment that is (not) code.
std::optional<uint64_t> address_of_offset(const ElfHeaders& headers, uint64_t offset, bool executable);

struct UnwindTable {  // of a .eh_frame_hdr, addresses in the file's own numbering
  uint64_t header = 0, table = 0;
  uint64_t entries = 0;  // of 8 bytes
};
// `read` takes addresses. nullopt: there is none, or one without a sorted table.
std::optional<UnwindTable> find_unwind_table(const ElfHeaders& headers, const ReadBytes& read);

}  // namespace mcr::stacks
