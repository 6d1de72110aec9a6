// One stream that holds files, each block of it checked: docs/image-format.md specifies the bytes. What writes and
// reads it knows neither what the files are nor where the bytes go to or come from. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace mcr::images {

inline constexpr uint32_t kArchiveVersion = 1;
inline constexpr size_t kArchiveHeaderBytes = 24;
inline constexpr size_t kBlockHeaderBytes = 40;
inline constexpr uint32_t kMostBlockBytes = 1u << 20;    // of data
inline constexpr uint32_t kMostArchiveFiles = 1u << 18;  // a process has about five

enum class BlockKind : uint32_t { name = 1, data = 2, end_of_file = 3, end = 4 };

struct BlockHeader {
  BlockKind kind = BlockKind::end;
  uint32_t file = 0;      // files are numbered from 0 in the order of their names' blocks
  uint64_t offset = 0;    // of the data in its file; end_of_file: its size; end: the bytes of all files
  uint32_t bytes = 0;     // of data that follow
  uint64_t checksum = 0;  // of them
};

// Takes all of it or throws.
using WriteBytes = std::function<void(const void* data, size_t size)>;
// Up to `size` bytes; 0: there are no more.
using ReadBytes = std::function<size_t(void* data, size_t size)>;

std::string encode_archive_header();
std::string encode_block_header(const BlockHeader& header);

}  // namespace mcr::images
