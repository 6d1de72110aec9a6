// Fuzz target of the reader of streams. The first byte chooses: the bytes as they are, or the same with a right header
// and right checksums, so that mutations reach what lies behind them. What is read must be refused with an Error that
// says so, or be consistent.
#include <xxhash.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "core/base/error.h"
#include "images/archive_reader.h"
#include "images/format.h"

namespace {

using namespace mcr::images;

void require(bool holds) {
  if (!holds) std::abort();
}

void read_archive(const std::string& stream) {
  size_t at = 0;
  ArchiveReader reader([&](void* data, size_t size) {
    const size_t n = std::min(size, stream.size() - at);
    std::memcpy(data, stream.data() + at, n);
    at += n;
    return n;
  });
  std::map<uint32_t, uint64_t> sizes;
  while (const auto piece = reader.next()) {
    require(is_valid_file_name(piece->name) && reader.offset() == at);
    if (piece->kind == BlockKind::name) {
      require(sizes.emplace(piece->file, 0).second && sizes.size() == piece->file + 1);
    } else {
      require(sizes.at(piece->file) == piece->offset);
      if (piece->kind == BlockKind::data) sizes[piece->file] += piece->data.size();
    }
  }
  require(!reader.next());
}

void put_checksum(std::string& bytes, size_t from, size_t size, size_t at) {
  const uint64_t sum = checksum_of(bytes.data() + from, size);
  std::memcpy(bytes.data() + at, &sum, sizeof sum);
}

// Follows the lengths as they are, as far as they stay inside the stream.
std::string with_right_checksums(const std::string& blocks) {
  std::string bytes = encode_archive_header() + blocks;
  XXH3_state_t* headers = XXH3_createState();
  XXH3_64bits_reset(headers);
  for (size_t at = kArchiveHeaderBytes; bytes.size() - at >= kBlockHeaderBytes;) {
    const size_t size = number_at<uint32_t>(bytes, at + 16), data = at + kBlockHeaderBytes;
    if (size > bytes.size() - data) break;
    if (number_at<uint32_t>(bytes, at) == static_cast<uint32_t>(BlockKind::end) && size == 16) {
      const uint64_t whole = XXH3_64bits_digest(headers);
      std::memcpy(bytes.data() + data + 8, &whole, sizeof whole);
    }
    put_checksum(bytes, data, size, at + 24);
    put_checksum(bytes, at, 32, at + 32);
    XXH3_64bits_update(headers, bytes.data() + at, kBlockHeaderBytes);
    at = data + size;
  }
  XXH3_freeState(headers);
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    read_archive(data[0] % 2 == 0 ? bytes : with_right_checksums(bytes));
  } catch (const mcr::Error& error) {
    require(error.fault() == mcr::Fault::image);
  }
  return 0;
}
