// Reads a stream of files block by block, each checked before it is handed out. Nothing in it is trusted: what is
// altered, cut off or out of order throws Fault::image with the offset in the stream. One thread; 1 MiB of memory and
// the names.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "images/archive.h"

namespace mcr::images {

class ArchiveReader {
 public:
  explicit ArchiveReader(ReadBytes read);  // reads and checks the header of the stream
  ~ArchiveReader();
  ArchiveReader(const ArchiveReader&) = delete;
  ArchiveReader& operator=(const ArchiveReader&) = delete;

  struct Piece {
    BlockKind kind;              // name: the file begins
    uint32_t file;               // numbered from 0, without gaps
    const std::string& name;     // of the file
    uint64_t offset;             // of the data in the file; end_of_file: its size
    std::span<const char> data;  // valid until the next call
  };
  std::optional<Piece> next();  // nullopt: the stream is whole and has ended
  uint64_t offset() const;      // in the stream: bytes that were read

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mcr::images
