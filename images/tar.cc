#include "images/tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <exception>
#include <vector>

#include "core/base/error.h"
#include "images/byte_text.h"

namespace mcr::images {
namespace {

constexpr size_t kBlock = 64u << 10;  // read or written at once

struct FreeEntry {
  void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};
struct FreeReader {
  void operator()(archive* a) const { archive_read_free(a); }
};
struct FreeWriter {
  void operator()(archive* a) const { archive_write_free(a); }
};

}  // namespace

struct TarWriter::Impl {
  WriteBytes write;
  std::exception_ptr thrown;  // by `write`: it must not pass through libarchive
  bool ends = false;
  std::unique_ptr<archive, FreeWriter> tar{archive_write_new()};
  std::unique_ptr<archive_entry, FreeEntry> entry{archive_entry_new()};

  // What is thrown is not told to libarchive: after an error of its own it would not free all that it has.
  static la_ssize_t take(archive*, void* self, const void* data, size_t size) {
    auto& impl = *static_cast<Impl*>(self);
    if (impl.ends) return -1;
    try {
      if (!impl.thrown) impl.write(data, size);
    } catch (...) {
      impl.thrown = std::current_exception();
    }
    return static_cast<la_ssize_t>(size);
  }
  void require(bool works) {
    if (thrown) std::rethrow_exception(thrown);
    if (works) return;
    const char* reason = archive_error_string(tar.get());
    throw Error(Fault::internal,
                fmt::format("the tar file cannot be written: {}", reason ? reason : "no reason given"));
  }
};

TarWriter::TarWriter(WriteBytes write) : impl_(std::make_unique<Impl>()) {
  impl_->write = std::move(write);
  archive* tar = impl_->tar.get();
  impl_->require(archive_write_set_format_pax_restricted(tar) == ARCHIVE_OK &&
                 archive_write_set_bytes_per_block(tar, kBlock) == ARCHIVE_OK &&
                 archive_write_set_bytes_in_last_block(tar, 512) == ARCHIVE_OK &&
                 archive_write_open(tar, impl_.get(), nullptr, Impl::take, nullptr) == ARCHIVE_OK);
}

// Freed before it was finished, libarchive writes what is missing of the last file as zeros, until that fails.
TarWriter::~TarWriter() {
  impl_->ends = true;
}

void TarWriter::begin(const std::string& name, uint64_t size) {
  archive_entry* entry = archive_entry_clear(impl_->entry.get());
  archive_entry_set_pathname(entry, name.c_str());
  archive_entry_set_size(entry, static_cast<la_int64_t>(size));
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_entry_set_perm(entry, 0600);
  archive_entry_set_mtime(entry, 0, 0);
  impl_->require(archive_write_header(impl_->tar.get(), entry) == ARCHIVE_OK);
}

void TarWriter::append(const void* data, size_t size) {
  const la_ssize_t written = archive_write_data(impl_->tar.get(), data, size);
  impl_->require(written >= 0 && static_cast<size_t>(written) == size);
}

void TarWriter::finish() {
  impl_->require(archive_write_close(impl_->tar.get()) == ARCHIVE_OK);
}

struct TarReader::Impl {
  ReadBytes read;
  std::exception_ptr thrown;
  std::unique_ptr<archive, FreeReader> tar{archive_read_new()};
  std::vector<char> block = std::vector<char>(kBlock);
  std::string name;
  uint64_t size = 0, had = 0;  // of the last entry

  static la_ssize_t give(archive*, void* self, const void** data) {
    auto& impl = *static_cast<Impl*>(self);
    try {
      *data = impl.block.data();
      return static_cast<la_ssize_t>(impl.read(impl.block.data(), impl.block.size()));
    } catch (...) {
      impl.thrown = std::current_exception();
      return -1;
    }
  }
  [[noreturn]] void fail(const std::string& reason) const {
    throw Error(Fault::image, fmt::format("the tar file at offset {}: {}", archive_filter_bytes(tar.get(), 0), reason),
                "it is damaged, cut off, or none that mini-criu export has written");
  }
  void require(bool works) {
    if (thrown) std::rethrow_exception(thrown);
    if (works) return;
    const char* reason = archive_error_string(tar.get());
    fail(reason ? escaped(reason) : "it cannot be read");
  }
};

TarReader::TarReader(ReadBytes read) : impl_(std::make_unique<Impl>()) {
  impl_->read = std::move(read);
  archive* tar = impl_->tar.get();
  impl_->require(archive_read_support_format_tar(tar) == ARCHIVE_OK &&
                 archive_read_support_filter_none(tar) == ARCHIVE_OK &&
                 archive_read_open(tar, impl_.get(), nullptr, Impl::give, nullptr) == ARCHIVE_OK);
}

TarReader::~TarReader() = default;

std::optional<TarReader::Entry> TarReader::next() {
  archive_entry* entry = nullptr;
  const int outcome = archive_read_next_header(impl_->tar.get(), &entry);
  if (outcome == ARCHIVE_EOF && !impl_->thrown) return std::nullopt;
  impl_->require(outcome == ARCHIVE_OK);
  const char* name = archive_entry_pathname(entry);
  if (!name || !*name) impl_->fail("an entry has no name");
  impl_->name = name;
  if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) || archive_entry_symlink(entry))
    impl_->fail(fmt::format("\"{:.300}\" is no plain file", escaped(name)));
  if (archive_entry_sparse_count(entry) != 0) impl_->fail(fmt::format("\"{:.300}\" has holes", escaped(name)));
  if (!archive_entry_size_is_set(entry) || archive_entry_size(entry) < 0)
    impl_->fail(fmt::format("\"{:.300}\" has no size", escaped(name)));
  impl_->size = static_cast<uint64_t>(archive_entry_size(entry));
  impl_->had = 0;
  return Entry{impl_->name, impl_->size};
}

std::span<const char> TarReader::data() {
  const void* data = nullptr;
  size_t size = 0;
  la_int64_t offset = 0;
  int outcome = ARCHIVE_OK;
  // A piece may be empty in the middle of a file; an entry has few of them, as each comes with a block of the file.
  do {
    outcome = archive_read_data_block(impl_->tar.get(), &data, &size, &offset);
    if (outcome == ARCHIVE_EOF && !impl_->thrown) {
      if (impl_->had != impl_->size)
        impl_->fail(fmt::format("\"{:.300}\" has {} bytes of {}", escaped(impl_->name), impl_->had, impl_->size));
      return {};
    }
    impl_->require(outcome == ARCHIVE_OK);
    if (offset < 0 || static_cast<uint64_t>(offset) != impl_->had || size > impl_->size - impl_->had)
      impl_->fail(fmt::format("\"{:.300}\" has holes, or goes on behind its end", escaped(impl_->name)));
  } while (size == 0);
  impl_->had += size;
  return {static_cast<const char*>(data), size};
}

}  // namespace mcr::images
