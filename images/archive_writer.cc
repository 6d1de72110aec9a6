#include "images/archive_writer.h"

#include <xxhash.h>

#include <set>
#include <vector>

#include "core/base/error.h"
#include "images/format.h"

namespace mcr::images {
namespace {

constexpr std::string_view kMagic("\x89MCRSTR\n", 8);

struct FreeHash {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

}  // namespace

std::string encode_archive_header() {
  std::string header(kMagic);
  append_number(header, kArchiveVersion);
  append_number(header, uint32_t{0});
  append_number(header, checksum_of(header.data(), header.size()));
  return header;
}

std::string encode_block_header(const BlockHeader& header) {
  std::string bytes;
  append_number(bytes, static_cast<uint32_t>(header.kind));
  append_number(bytes, header.file);
  append_number(bytes, header.offset);
  append_number(bytes, header.bytes);
  append_number(bytes, uint32_t{0});
  append_number(bytes, header.checksum);
  append_number(bytes, checksum_of(bytes.data(), bytes.size()));
  return bytes;
}

struct ArchiveWriter::Impl {
  WriteBytes write;
  std::set<std::string> names;
  struct File {
    uint64_t size = 0;
    bool ended = false;
  };
  std::vector<File> files;
  uint64_t blocks = 0, written = 0;
  std::unique_ptr<XXH3_state_t, FreeHash> headers{XXH3_createState()};

  void put(const void* data, size_t size) {
    write(data, size);
    written += size;
  }
  void put_block(BlockKind kind, uint32_t file, uint64_t offset, const void* data, size_t size);
  File& open_file(uint32_t file);
};

void ArchiveWriter::Impl::put_block(BlockKind kind, uint32_t file, uint64_t offset, const void* data, size_t size) {
  const std::string header =
      encode_block_header({kind, file, offset, static_cast<uint32_t>(size), checksum_of(data, size)});
  if (kind != BlockKind::end) {
    XXH3_64bits_update(headers.get(), header.data(), header.size());
    ++blocks;
  }
  put(header.data(), header.size());
  if (size != 0) put(data, size);
}

ArchiveWriter::Impl::File& ArchiveWriter::Impl::open_file(uint32_t file) {
  if (file >= files.size() || files[file].ended)
    throw Error(Fault::internal, fmt::format("file {} of a stream is not open", file));
  return files[file];
}

ArchiveWriter::ArchiveWriter(WriteBytes write) : impl_(std::make_unique<Impl>()) {
  impl_->write = std::move(write);
  XXH3_64bits_reset(impl_->headers.get());
  const std::string header = encode_archive_header();
  impl_->put(header.data(), header.size());
}

ArchiveWriter::~ArchiveWriter() = default;

uint32_t ArchiveWriter::begin(const std::string& name) {
  if (!is_valid_file_name(name) || !impl_->names.insert(name).second)
    throw Error(Fault::internal, fmt::format("\"{}\" is no name for a new file of a stream", name));
  if (impl_->files.size() == kMostArchiveFiles)
    throw Error(Fault::refused, fmt::format("a stream holds {} files, and here are more", kMostArchiveFiles),
                "save to a folder");
  const auto file = static_cast<uint32_t>(impl_->files.size());
  impl_->files.emplace_back();
  impl_->put_block(BlockKind::name, file, 0, name.data(), name.size());
  return file;
}

void ArchiveWriter::append(uint32_t file, const void* data, size_t size) {
  Impl::File& target = impl_->open_file(file);
  const auto* bytes = static_cast<const char*>(data);
  while (size > 0) {
    const size_t part = std::min<size_t>(size, kMostBlockBytes);
    impl_->put_block(BlockKind::data, file, target.size, bytes, part);
    target.size += part;
    bytes += part;
    size -= part;
  }
}

void ArchiveWriter::end_file(uint32_t file) {
  Impl::File& target = impl_->open_file(file);
  impl_->put_block(BlockKind::end_of_file, file, target.size, nullptr, 0);
  target.ended = true;
}

void ArchiveWriter::finish() {
  uint64_t total = 0;
  for (const Impl::File& file : impl_->files) {
    if (!file.ended) throw Error(Fault::internal, "a file of a stream has not ended");
    total += file.size;
  }
  std::string closing;
  append_number(closing, impl_->blocks);
  append_number(closing, uint64_t{XXH3_64bits_digest(impl_->headers.get())});
  impl_->put_block(BlockKind::end, static_cast<uint32_t>(impl_->files.size()), total, closing.data(), closing.size());
}

uint64_t ArchiveWriter::written() const {
  return impl_->written;
}

}  // namespace mcr::images
