#include "images/archive_reader.h"

#include <xxhash.h>

#include <set>
#include <vector>

#include "core/base/error.h"
#include "images/format.h"

namespace mcr::images {
namespace {

constexpr size_t kClosingBytes = 16;

struct FreeHash {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

[[noreturn]] void throw_bad(uint64_t offset, const std::string& what) {
  throw Error(Fault::image, fmt::format("the stream at offset {}: {}", offset, what),
              "the stream was damaged on its way: send it once more");
}

}  // namespace

struct ArchiveReader::Impl {
  ReadBytes read;
  uint64_t offset = 0;
  struct File {
    std::string name;
    uint64_t size = 0;
    bool ended = false;
  };
  std::vector<File> files;
  std::set<std::string> names;
  uint64_t blocks = 0, total = 0;
  bool ended = false;
  std::vector<char> data;
  std::unique_ptr<XXH3_state_t, FreeHash> headers{XXH3_createState()};

  void fill(char* to, size_t size, const char* inside);
  void read_header();
  BlockHeader read_block_header();
  void check_fields(const BlockHeader& header, uint64_t at) const;
  void check_file(const BlockHeader& header, uint64_t at);
  void read_data(const BlockHeader& header);
  void take_name(uint64_t at);
  void check_end(const BlockHeader& header, uint64_t at);
};

void ArchiveReader::Impl::fill(char* to, size_t size, const char* inside) {
  for (size_t done = 0; done < size;) {
    const size_t n = read(to + done, size - done);
    if (n == 0 && offset == 0)
      throw Error(Fault::image, "the stream is empty", "see what became of the one who was to send it");
    if (n == 0)
      throw Error(Fault::image, fmt::format("the stream ends at offset {}, {}", offset, inside),
                  "see what became of the one who sent it, and send it once more");
    done += n;
    offset += n;
  }
}

void ArchiveReader::Impl::read_header() {
  std::string header(kArchiveHeaderBytes, '\0');
  fill(header.data(), header.size(), "inside its header");
  const std::string right = encode_archive_header();
  if (header.compare(0, 8, right, 0, 8) != 0)
    throw Error(Fault::image, "this is no stream of mini-criu", "give the output of mini-criu dump -D -");
  const uint64_t computed = checksum_of(header.data(), 16);
  if (number_at<uint64_t>(header, 16) != computed) throw_bad(0, "the checksum of the header differs");
  if (const auto version = number_at<uint32_t>(header, 8); version > kArchiveVersion)
    throw Error(Fault::image,
                fmt::format("the stream has version {}, this program reads up to {}", version, kArchiveVersion),
                "use the mini-criu that sent it, or a newer one");
  if (header != right) throw_bad(8, "the header has values that this version never has");
}

BlockHeader ArchiveReader::Impl::read_block_header() {
  const uint64_t at = offset;
  std::string bytes(kBlockHeaderBytes, '\0');
  fill(bytes.data(), bytes.size(), "before its end record");
  if (number_at<uint64_t>(bytes, 32) != checksum_of(bytes.data(), 32))
    throw_bad(at, "the checksum of a block's header differs");
  const BlockHeader header{static_cast<BlockKind>(number_at<uint32_t>(bytes, 0)), number_at<uint32_t>(bytes, 4),
                           number_at<uint64_t>(bytes, 8), number_at<uint32_t>(bytes, 16),
                           number_at<uint64_t>(bytes, 24)};
  if (number_at<uint32_t>(bytes, 20) != 0) throw_bad(at, "a block has flags that this version does not know");
  check_fields(header, at);
  if (header.kind == BlockKind::end) return header;
  XXH3_64bits_update(headers.get(), bytes.data(), bytes.size());
  ++blocks;
  return header;
}

// The length decides how much is read: it is within its limit before anything is.
void ArchiveReader::Impl::check_fields(const BlockHeader& header, uint64_t at) const {
  const auto bad_length = [&] { throw_bad(at, fmt::format("a block has {} bytes", header.bytes)); };
  switch (header.kind) {
    case BlockKind::name:
      if (header.bytes == 0 || header.bytes > 255) bad_length();
      if (header.file != files.size() || header.file >= kMostArchiveFiles)
        throw_bad(at, fmt::format("file {} begins where file {} is due", header.file, files.size()));
      if (header.offset != 0) throw_bad(at, "a name has an offset");
      return;
    case BlockKind::data:
      if (header.bytes == 0 || header.bytes > kMostBlockBytes) bad_length();
      return;
    case BlockKind::end_of_file:
      if (header.bytes != 0) bad_length();
      return;
    case BlockKind::end:
      if (header.bytes != kClosingBytes) bad_length();
      return;
  }
  throw_bad(at, fmt::format("a block is of kind {}", static_cast<uint32_t>(header.kind)));
}

void ArchiveReader::Impl::check_file(const BlockHeader& header, uint64_t at) {
  if (header.file >= files.size()) throw_bad(at, fmt::format("file {} has not begun", header.file));
  const File& file = files[header.file];
  if (file.ended) throw_bad(at, fmt::format("{} goes on after its end", file.name));
  if (header.offset != file.size)
    throw_bad(at, fmt::format("{} goes on at {}, but has {} bytes so far", file.name, header.offset, file.size));
}

void ArchiveReader::Impl::read_data(const BlockHeader& header) {
  const uint64_t at = offset;
  data.resize(header.bytes);
  fill(data.data(), data.size(), "inside a block");
  const uint64_t computed = checksum_of(data.data(), data.size());
  if (computed != header.checksum)
    throw_bad(at, fmt::format("the checksum of {} bytes differs ({:016x}, computed {:016x})", header.bytes,
                              header.checksum, computed));
}

void ArchiveReader::Impl::take_name(uint64_t at) {
  std::string name(data.begin(), data.end());
  if (!is_valid_file_name(name)) throw_bad(at, "this is no name for a file");
  if (!names.insert(name).second) throw_bad(at, fmt::format("{} comes twice", name));
  files.push_back({std::move(name)});
}

void ArchiveReader::Impl::check_end(const BlockHeader& header, uint64_t at) {
  const std::string_view closing(data.data(), data.size());
  for (const File& file : files)
    if (!file.ended) throw_bad(at, fmt::format("{} has not ended", file.name));
  if (header.file != files.size() || header.offset != total || number_at<uint64_t>(closing, 0) != blocks)
    throw_bad(at,
              fmt::format("{} files of {} bytes in {} blocks are announced, but {} of {} bytes in {} have come",
                          header.file, header.offset, number_at<uint64_t>(closing, 0), files.size(), total, blocks));
  if (number_at<uint64_t>(closing, 8) != XXH3_64bits_digest(headers.get()))
    throw_bad(at, "the checksum of the whole differs");
  ended = true;
}

ArchiveReader::ArchiveReader(ReadBytes read) : impl_(std::make_unique<Impl>()) {
  impl_->read = std::move(read);
  XXH3_64bits_reset(impl_->headers.get());
  impl_->read_header();
}

ArchiveReader::~ArchiveReader() = default;

std::optional<ArchiveReader::Piece> ArchiveReader::next() {
  if (impl_->ended) return std::nullopt;
  const uint64_t at = impl_->offset;
  const BlockHeader header = impl_->read_block_header();
  if (header.kind == BlockKind::data || header.kind == BlockKind::end_of_file) impl_->check_file(header, at);
  impl_->read_data(header);
  if (header.kind == BlockKind::end) {
    impl_->check_end(header, at);
    return std::nullopt;
  }
  if (header.kind == BlockKind::name) impl_->take_name(at);
  Impl::File& file = impl_->files[header.file];
  file.size += header.kind == BlockKind::data ? header.bytes : 0;
  impl_->total += header.kind == BlockKind::data ? header.bytes : 0;
  file.ended = header.kind == BlockKind::end_of_file;
  return Piece{header.kind, header.file, file.name, header.offset, impl_->data};
}

uint64_t ArchiveReader::offset() const {
  return impl_->offset;
}

}  // namespace mcr::images
