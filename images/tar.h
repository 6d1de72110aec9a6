// Tar files by libarchive, as far as an image needs them: plain files one after the other. One thread an object.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "images/archive.h"

namespace mcr::images {

// The same files give the same bytes: no times, no owners. Throws what `write` throws.
class TarWriter {
 public:
  explicit TarWriter(WriteBytes write);
  ~TarWriter();
  TarWriter(const TarWriter&) = delete;
  TarWriter& operator=(const TarWriter&) = delete;

  void begin(const std::string& name, uint64_t size);
  void append(const void* data, size_t size);  // in all as many bytes as begin() was told
  void finish();                               // after the last file

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Nothing in the file is trusted. Throws Fault::image for what is no tar file, is cut off, or holds anything but plain
// files, with the offset; and what `read` throws.
class TarReader {
 public:
  explicit TarReader(ReadBytes read);
  ~TarReader();
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  struct Entry {
    std::string name;  // whatever was written there: no path that may be used
    uint64_t size = 0;
  };
  std::optional<Entry> next();  // nullopt: there are no more; what is left of the last one is passed over
  // Some of the content of the last entry, in order; empty: all of it was had. Valid until the next call.
  std::span<const char> data();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mcr::images
