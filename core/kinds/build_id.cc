#include "core/kinds/build_id.h"

#include <elf.h>
#include <fcntl.h>

#include <cstring>
#include <vector>

#include "core/base/error.h"
#include "core/sys/file.h"

namespace mcr::kinds {
namespace {

std::string hex(const unsigned char* bytes, size_t size) {
  std::string text;
  for (size_t i = 0; i < size; ++i) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

std::string find_in_notes(const std::vector<unsigned char>& notes) {
  for (size_t at = 0; at + sizeof(Elf64_Nhdr) <= notes.size();) {
    Elf64_Nhdr note;
    std::memcpy(&note, notes.data() + at, sizeof note);
    const size_t name = at + sizeof note;
    const size_t value = name + (size_t{note.n_namesz} + 3) / 4 * 4;
    const size_t next = value + (size_t{note.n_descsz} + 3) / 4 * 4;
    if (next > notes.size() || next <= at) break;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(notes.data() + name, "GNU", 4) == 0)
      return hex(notes.data() + value, note.n_descsz);
    at = next;
  }
  return {};
}

// The offset comes from the file; one that no file can have is none of an error's worth.
bool read_at(int fd, void* data, size_t size, uint64_t offset) {
  return offset <= INT64_MAX - size && sys::pread_some(fd, data, size, offset) == size;
}

}  // namespace

std::string read_build_id(const std::string& path) {
  int code = 0;
  const auto fd = sys::probe_open(path, O_RDONLY | O_NONBLOCK, code);
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
    std::vector<unsigned char> notes(segment.p_filesz);
    if (!read_at(fd, notes.data(), notes.size(), segment.p_offset)) continue;
    if (auto id = find_in_notes(notes); !id.empty()) return id;
  }
  return {};
}

}  // namespace mcr::kinds
