// An image folder: files of framed records and files of raw pages, written whole or not at all.
//
// Writing: ImageWriter stages everything in DIR/.staging-XXXXXX and commit() makes it the image in one rename.
// Destroyed without commit(), it removes what it staged. Reading: ImageReader refuses a folder without an
// inventory; every byte read is checked before use. Errors: Fault::image names file and offset.
// Both also work without a folder: the image goes out as a stream (images/archive.h), or has come as one and lies in
// memory (ReceivedImage).
// Not thread-safe unless said; descriptors returned are close-on-exec.
#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/progress.h"
#include "core/base/unique_fd.h"
#include "images/archive.h"
#include "images/page_file.h"
#include "images/proto/inventory.pb.h"

namespace mcr::images {

inline constexpr uint32_t kFormatVersion = 1;
inline constexpr uint64_t kPageFileHeader = 4096;    // page data starts here, so that runs are page-aligned in the file
inline constexpr uint32_t kChunkBytes = 1u << 20;    // one checksum per so many bytes of pages
inline constexpr uint64_t kWindowBytes = 16u << 20;  // of a file of pages that goes out as a stream
inline constexpr uint32_t kMaxRecordBytes = 64u << 20;

uint64_t checksum_of(const void* data, size_t size);  // XXH3-64

// Appends framed messages to one file of an image. finish() writes the closing record; without it the file is torn.
class RecordWriter {
 public:
  RecordWriter(UniqueFd fd, std::string name, const std::string& image_id);
  RecordWriter(WriteBytes write, std::string name, const std::string& image_id);
  ~RecordWriter();
  RecordWriter(RecordWriter&&) noexcept;
  void append(const google::protobuf::Message& message);
  void finish();
  uint64_t size() const;      // bytes, after finish()
  uint64_t checksum() const;  // XXH3-64 of the whole file, after finish()
  const std::string& name() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Walks the records of one file; the whole file's framing is checked as it goes.
class RecordReader {
 public:
  RecordReader(UniqueFd fd, std::string name);        // reads the file whole, from its start
  RecordReader(std::string bytes, std::string name);  // a file that is in memory already
  ~RecordReader();
  RecordReader(RecordReader&&) noexcept;
  // The full name ("mcr.image.Vma") of the next record's message; nullopt after the closing record.
  std::optional<std::string> next_type();
  void read_into(google::protobuf::Message& message);     // throws when the type differs
  std::unique_ptr<google::protobuf::Message> read_any();  // by reflection, for show
  template <typename M>
  M read() {
    M message;
    read_into(message);
    return message;
  }
  template <typename M>
  bool at() {
    return next_type() == M::descriptor()->full_name();
  }
  uint64_t offset() const;  // of the next record in the file
  const std::string& name() const;
  const std::string& image_id() const;  // 16 random bytes, the same in all files of one image
  uint32_t version() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Where a stream goes. Both throw when the bytes cannot be had by the other side any more.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual void write(const void* data, size_t size) = 0;  // all of it
  virtual void complete() = 0;                            // all was written: makes it last where that can be done
};

class ImageWriter {
 public:
  // Creates `directory` when it is missing (0700). sync: fsync every file and the folder in commit().
  ImageWriter(const std::string& directory, bool sync);
  explicit ImageWriter(ByteSink& stream);  // outlives the object
  ~ImageWriter();
  bool is_stream() const;
  void set_progress(Progress* progress);          // outlives the object; counts the bytes of files of pages
  RecordWriter records(const std::string& name);  // "core-12.img"
  // A raw page file with its header written; data goes from kPageFileHeader on. The caller pads to whole pages.
  UniqueFd pages(const std::string& name);
  // The file of pages is written up to `end` and does not change there any more: a stream takes it from `fd`, where
  // it is a hole afterwards. To be called every kWindowBytes at least; that much memory is in use.
  void stored(const std::string& name, int fd, uint64_t end);
  void expect(uint64_t bytes);                      // so much more is to be stored: for the progress
  void add(RecordWriter& finished);                 // enters it into the inventory
  void add_pages(const std::string& name, int fd);  // likewise; its size is taken from fd
  // Makes the image whole: sync, inventory, one rename, old image of the folder replaced. Of a stream: the inventory
  // and the end record; when this returns all of it was taken.
  void commit(mcr::image::Inventory inventory);
  uint64_t bytes() const;  // of all files added so far
  const std::string& directory() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Where an image lies: in a folder, in memory, or on another host.
class ReceivedImage;
class FarImage;
struct ImagePlace {
  ImagePlace(std::string folder) : directory(std::move(folder)) {}  // NOLINT: a folder is a place
  ImagePlace(const char* folder) : directory(folder) {}             // NOLINT
  ImagePlace(std::shared_ptr<const ReceivedImage> image)            // NOLINT
      : directory("-"), received(std::move(image)) {}
  ImagePlace(std::shared_ptr<FarImage> image);  // NOLINT
  std::string directory;
  std::shared_ptr<const ReceivedImage> received;  // null: not in memory
  std::shared_ptr<FarImage> far;                  // null: here
};

class ImageReader {
 public:
  explicit ImageReader(const ImagePlace& place);  // reads and checks the inventory
  ~ImageReader();
  const mcr::image::Inventory& inventory() const;
  RecordReader records(const std::string& name) const;  // checks size and checksum against the inventory first
  PageFile pages(const std::string& name) const;        // checks header and size; chunks are the caller's to check
  UniqueFd as_it_is(const std::string& name) const;     // any file, the inventory too; only its size is checked
  // What was read of files of pages may be given back to the system (sys::punch_hole): they are in memory, and nobody
  // else's.
  bool may_release() const;
  bool has(const std::string& name) const;
  // Every file that was not asked for yet: size, header and, of records, the checksum. So a restore refuses what is
  // damaged even where it would never look.
  void check_unread() const;
  const std::string& directory() const;
  const std::string& id() const;  // 16 random bytes, those of the inventory
  FarImage* far() const;          // null: the image is here

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct VerifyReport {
  uint64_t files = 0, records = 0, bytes = 0;
};
// Reads everything: every record, every chunk of every page file (also the padding of headers), and that the
// records fit together (runs inside their files). Throws at the first bad byte with file and offset.
VerifyReport verify(const ImagePlace& place);

}  // namespace mcr::images
