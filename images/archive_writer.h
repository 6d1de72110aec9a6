// Writes files into one stream as they grow, several at a time if need be. Nothing is kept in memory but their names.
// One thread. Throws what `write` throws; after that the stream is torn, and nothing more can be written.
#pragma once

#include <memory>

#include "images/archive.h"

namespace mcr::images {

class ArchiveWriter {
 public:
  explicit ArchiveWriter(WriteBytes write);  // writes the header of the stream
  ~ArchiveWriter();
  ArchiveWriter(const ArchiveWriter&) = delete;
  ArchiveWriter& operator=(const ArchiveWriter&) = delete;

  uint32_t begin(const std::string& name);  // the number of the file; Error(internal): no name for one, or taken
  void append(uint32_t file, const void* data, size_t size);
  void end_file(uint32_t file);
  void finish();             // the end record; all files have ended
  uint64_t written() const;  // bytes of the stream

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mcr::images
