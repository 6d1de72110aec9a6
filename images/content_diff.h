// Raw content of two images (memory, deleted files) compared by where it belongs, not by where it lies. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/base/unique_fd.h"
#include "images/proto/files.pb.h"
#include "images/store.h"

namespace mcr::images {

// A stretch of content; as GhostExtent and PageRun say it.
struct Stretch {
  uint64_t at = 0, bytes = 0;  // address, or offset in the file
  uint32_t chunk_bytes = 0;    // 0: it has no checksums that could be compared
  std::vector<uint64_t> checksums;
  std::function<void(uint64_t skipped, std::span<std::byte> out)> read;  // from so many bytes behind `at` on
};

Stretch stretch_of(const image::GhostExtent& extent, int fd);  // of its content file

// The stretches of one space, in order and without overlap. add() throws when they are not.
class Content {
 public:
  explicit Content(std::string owner) : owner_(std::move(owner)) {}  // for errors: "mm-12.img"
  void add(Stretch stretch);
  const std::vector<Stretch>& stretches() const { return stretches_; }

 private:
  std::string owner_;
  std::vector<Stretch> stretches_;
};

// Opens each file of pages once.
class PageFiles {
 public:
  explicit PageFiles(const ImageReader& reader) : reader_(reader) {}
  int open(const std::string& name);

 private:
  const ImageReader& reader_;
  std::map<std::string, PageFile> files_;
};

// The bytes at `at`, zeros where nothing is stored.
std::string read_content(const Content& content, uint64_t at, size_t bytes);

inline constexpr size_t kPieceBytes = 4096;

// A piece (at most kPieceBytes, within one page) that is not the same. What is stored on one side only comes with zeros
// for the other.
struct DifferentPiece {
  uint64_t at;
  std::string_view a, b;
  bool in_a, in_b;
};

// Stretches whose chunks lie alike are compared by their checksums, others byte by byte. A piece that is stored on one
// side only is told when `is_zero_when_absent(at)` is false, or when it is not all zeros.
void compare_contents(const Content& a, const Content& b, const std::function<bool(uint64_t)>& is_zero_when_absent,
                      const std::function<void(const DifferentPiece&)>& tell);

}  // namespace mcr::images
