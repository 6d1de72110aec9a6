#include "images/format.h"

#include <fcntl.h>
#include <xxhash.h>

#include <algorithm>
#include <random>
#include <system_error>

#include "core/base/error.h"
#include "core/sys/file.h"

namespace mcr::images {
namespace {

// As in PNG: a byte with the top bit set and a line end, so that a transfer in text mode is noticed at once.
constexpr std::string_view kMagic{"\x89MCRIMG\n", 8};

constexpr size_t kVersionAt = 8, kKindAt = 12, kLengthAt = 16, kReservedAt = 20, kIdAt = 24, kChecksumAt = 40;

uint32_t header_length(FileKind kind) {
  return kind == FileKind::pages ? kPageFileHeader : kHeaderBytes;
}

void check_header_fields(std::string_view start, const std::string& name) {
  const auto version = number_at<uint32_t>(start, kVersionAt);
  if (version > kFormatVersion)
    throw Error(Fault::image,
                fmt::format("{} has image format version {}, this program reads versions up to {}", name, version,
                            kFormatVersion),
                "use the newer mini-criu that wrote the image");
  if (version == 0) throw_damaged(name, kVersionAt, "format version 0 does not exist");
  const auto kind = number_at<uint32_t>(start, kKindAt);
  if (kind != static_cast<uint32_t>(FileKind::records) && kind != static_cast<uint32_t>(FileKind::pages))
    throw_damaged(name, kKindAt, fmt::format("unknown kind of file {}", kind));
  const auto length = number_at<uint32_t>(start, kLengthAt);
  if (length != header_length(static_cast<FileKind>(kind)))
    throw_damaged(name, kLengthAt, fmt::format("wrong header length {}", length));
  if (number_at<uint32_t>(start, kReservedAt) != 0) throw_damaged(name, kReservedAt, "reserved bytes are not zero");
}

}  // namespace

uint64_t checksum_of(const void* data, size_t size) {
  return XXH3_64bits(data, size);
}

void throw_damaged(const std::string& name, uint64_t offset, const std::string& reason) {
  throw Error(Fault::image, fmt::format("{} at offset {}: {}", name, offset, reason),
              "the image is damaged: use another copy");
}

std::string encode_header(FileKind kind, const std::string& image_id) {
  if (image_id.size() != kImageIdBytes) throw Error(Fault::internal, "an image id has 16 bytes");
  std::string header(kMagic);
  append_number(header, kFormatVersion);
  append_number(header, static_cast<uint32_t>(kind));
  append_number(header, header_length(kind));
  append_number(header, uint32_t{0});
  header += image_id;
  append_number(header, checksum_of(header.data(), header.size()));
  header.resize(header_length(kind), '\0');
  return header;
}

FileHeader decode_header(std::string_view start, const std::string& name) {
  if (start.empty()) throw_damaged(name, 0, "the file is empty");
  if (start.substr(0, kMagic.size()) != kMagic)
    throw Error(Fault::image, fmt::format("{} is not a mini-criu image", name),
                "give a file or folder that mini-criu has written");
  if (start.size() < kHeaderBytes) throw_damaged(name, start.size(), "the file ends inside its header");
  // The checksum comes before the version: a flipped bit is not to be reported as an image from the future. For the
  // same reason these 48 bytes keep their places in every later version.
  const auto stored = number_at<uint64_t>(start, kChecksumAt);
  const uint64_t computed = checksum_of(start.data(), kChecksumAt);
  if (stored != computed)
    throw_damaged(name, 0, fmt::format("checksum of the header differs ({:016x}, computed {:016x})", stored, computed));
  check_header_fields(start, name);
  return {number_at<uint32_t>(start, kVersionAt), static_cast<FileKind>(number_at<uint32_t>(start, kKindAt)),
          std::string(start.substr(kIdAt, kImageIdBytes))};
}

static std::string read_start(int fd, const std::string& name, size_t size) {
  if (!S_ISREG(sys::stat_fd(fd).st_mode))
    throw Error(Fault::image, fmt::format("{} is not a regular file", name),
                "give a file or folder that mini-criu has written");
  std::string start(size, '\0');
  size_t used = 0;
  while (used < size) {
    const size_t n = sys::pread_some(fd, start.data() + used, size - used, used);
    if (n == 0) break;
    used += n;
  }
  start.resize(used);
  return start;
}

FileHeader read_header(int fd, const std::string& name) {
  return decode_header(read_start(fd, name, kHeaderBytes), name);
}

FileHeader read_page_header(int fd, const std::string& name) {
  const std::string start = read_start(fd, name, kPageFileHeader);
  FileHeader header = decode_header(std::string_view(start).substr(0, kHeaderBytes), name);
  if (header.kind != FileKind::pages) throw_damaged(name, kKindAt, "not a file of pages");
  if (start.size() < kPageFileHeader) throw_damaged(name, start.size(), "the file ends inside its header");
  const size_t bad = start.find_first_not_of('\0', kHeaderBytes);
  if (bad != std::string::npos) throw_damaged(name, bad, "the padding of the header is not zero");
  return header;
}

std::string random_image_id() {
  std::random_device source;
  std::string id;
  while (id.size() < kImageIdBytes) append_number(id, uint32_t{source()});
  return id;
}

bool is_valid_file_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  return !name.empty() && name.size() <= 255 && name.front() != '.' && std::all_of(name.begin(), name.end(), allowed);
}

std::optional<UniqueFd> open_image_file(int folder, const std::string& name) {
  try {
    // O_NONBLOCK: a FIFO of that name would otherwise hold up the open until a writer comes.
    auto fd = sys::try_open_at(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (fd && !S_ISREG(sys::stat_fd(fd->get()).st_mode))
      throw Error(Fault::image, fmt::format("{} is not a regular file", name),
                  "the image folder has been tampered with: use another copy");
    return fd;
  } catch (const Error& error) {
    if (error.code() != static_cast<int>(std::errc::too_many_symbolic_link_levels)) throw;
    throw Error(Fault::image, fmt::format("{} is a symbolic link, which an image never contains", name),
                "copy the image folder with its files, not with links to them");
  }
}

}  // namespace mcr::images
