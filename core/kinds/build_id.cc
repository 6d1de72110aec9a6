#include "core/kinds/build_id.h"

#include <elf.h>

#include <cstring>
#include <vector>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "core/sys/regular_file.h"

namespace mcr::kinds {
namespace {

// The offset comes from the file; one that no file can have is none of an error's worth.
bool read_at(int fd, void* data, size_t size, uint64_t offset) {
  return offset <= INT64_MAX - size && sys::pread_some(fd, data, size, offset) == size;
}

std::string hexadecimal(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

}  // namespace

std::string find_build_id(std::span<const std::byte> notes) {
  constexpr size_t kShortest = 2, kLongest = 64;
  for (size_t at = 0; at + sizeof(Elf64_Nhdr) <= notes.size();) {
    Elf64_Nhdr note;
    std::memcpy(&note, notes.data() + at, sizeof note);
    const size_t name = at + sizeof note;
    const size_t value = name + (size_t{note.n_namesz} + 3) / 4 * 4;
    const size_t next = value + (size_t{note.n_descsz} + 3) / 4 * 4;
    if (next > notes.size()) break;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(notes.data() + name, "GNU", 4) == 0 &&
        note.n_descsz >= kShortest && note.n_descsz <= kLongest)
      return hexadecimal(notes.subspan(value, note.n_descsz));
    at = next;
  }
  return {};
}

std::string read_build_id(const std::string& path) {
  const auto fd = sys::open_regular(path);
  return fd ? read_build_id(fd->get()) : std::string();
}

std::string read_build_id(int fd) {
  Elf64_Ehdr header;
  if (!read_at(fd, &header, sizeof header, 0)) return {};
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64) return {};
  for (unsigned i = 0; i < header.e_phnum && i < 64; ++i) {
    Elf64_Phdr segment;
    if (!read_at(fd, &segment, sizeof segment, header.e_phoff + i * sizeof segment)) return {};
    if (segment.p_type != PT_NOTE || segment.p_filesz > 65536) continue;
    std::vector<std::byte> notes(segment.p_filesz);
    if (!read_at(fd, notes.data(), notes.size(), segment.p_offset)) continue;
    if (auto id = find_build_id(notes); !id.empty()) return id;
  }
  return {};
}

}  // namespace mcr::kinds
