// The bytes of an image file: the header that every file begins with, and the numbers that bound it.
// docs/image-format.md specifies them. Pure functions; callable from any thread.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "core/base/unique_fd.h"
#include "images/store.h"

namespace mcr::images {

static_assert(std::endian::native == std::endian::little, "numbers are stored as they lie in memory: little-endian");

enum class FileKind : uint32_t { records = 1, pages = 2 };

inline constexpr size_t kHeaderBytes = 48;
inline constexpr size_t kImageIdBytes = 16;
inline constexpr size_t kFrameStart = 6;  // payload length and type-name length
inline constexpr size_t kChecksumBytes = 8;
inline constexpr size_t kMaxTypeName = 255;
inline constexpr uint64_t kMaxRecordFileBytes = 1ull << 30;  // read whole into memory, hence the limit

inline constexpr char kInventoryName[] = "inventory.img";
inline constexpr char kCommitName[] = ".commit";
inline constexpr char kStagingPrefix[] = ".staging-";

struct FileHeader {
  uint32_t version = 0;
  FileKind kind = FileKind::records;
  std::string image_id;  // kImageIdBytes raw bytes
};

// The header as it is written, for pages padded with zeros to kPageFileHeader.
std::string encode_header(FileKind kind, const std::string& image_id);
// Checks the first bytes of a file (all kHeaderBytes, or as many as the file has).
FileHeader decode_header(std::string_view start, const std::string& name);
// decode_header for the file behind `fd`; refuses what is not a regular file. Leaves the file position alone.
FileHeader read_header(int fd, const std::string& name);
// Also checks the padding that follows the header of a pages file.
FileHeader read_page_header(int fd, const std::string& name);

std::string random_image_id();
// Letters, digits, '.', '_' and '-', not starting with a dot: such a name cannot leave the folder.
bool is_valid_file_name(std::string_view name);
// Opens a file of an image for reading; nullopt when it does not exist. A symbolic link is refused.
std::optional<UniqueFd> open_image_file(int folder, const std::string& name);

[[noreturn]] void throw_damaged(const std::string& name, uint64_t offset, const std::string& reason);

template <typename Number>
void append_number(std::string& bytes, Number value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}
template <typename Number>
Number number_at(std::string_view bytes, size_t offset) {
  Number value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

}  // namespace mcr::images
