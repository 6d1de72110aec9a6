// A file of pages for what the engine stores itself while a program writes to the file of its own: a file takes one
// writer at a time (the lock of the inode). In the image it is the only stream; its chunks lie one behind the other.
// One for all processes of a dump. append(): any thread, once prepare() was called; the rest: the thread that dumps.
// Errors: those of the file, as pwrite(2) has them.
#pragma once

#include <cstddef>
#include <mutex>
#include <span>

#include "core/base/unique_fd.h"
#include "core/mem/page_dedup.h"
#include "images/proto/inventory.pb.h"
#include "images/store.h"

namespace mcr::mem {

class SecondFile {
 public:
  explicit SecondFile(images::ImageWriter& writer) : writer_(writer) {}  // outlives it
  void prepare();                                                        // makes the file, the first time
  // At most a chunk. Its place has the number of the stream.
  StoredPage append(std::span<const std::byte> bytes);
  int fd() const { return fd_.get(); }
  // When all is written: enters the file into the image, and its name into the inventory.
  void finish(mcr::image::Inventory& inventory);

 private:
  images::ImageWriter& writer_;
  UniqueFd fd_;
  std::mutex mutex_;
  uint64_t end_ = images::kPageFileHeader;
};

}  // namespace mcr::mem
