// What a mapping shows where the process has no pages of its own: a file, memory that the image has stored by offset,
// or zeros. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/inspect/saved_tree.h"

namespace mcr::inspect {

// Where the bytes of memory come from. missing: nobody has them.
enum class Source { image, zeros, file, missing };

class BackingContent {
 public:
  virtual ~BackingContent() = default;
  struct Extent {
    uint64_t end;  // up to here it is all of one source
    Source source;
  };
  virtual Extent extent_at(uint64_t offset) const = 0;
  // All of [offset, offset + out.size()) must be of one extent that is not missing. Throws Error when it is damaged or
  // has gone meanwhile.
  virtual void read(uint64_t offset, std::span<std::byte> out) const = 0;
  virtual std::string why_missing() const { return {}; }  // empty: nothing is
};

// Of private and shared anonymous memory that was never written to.
std::unique_ptr<BackingContent> zero_content();
// Nothing of it is known: memory of devices and of the kernel.
std::unique_ptr<BackingContent> missing_content(std::string why);
// These bytes from offset 0 on, then zeros. They must outlive it.
std::unique_ptr<BackingContent> byte_content(std::span<const std::byte> bytes);
// An object of files.img that was mapped: a file of this host, where it is the same as at the dump (its size; its
// build-id, or where it has none the time of its last change), or a deleted one that the image holds.
std::unique_ptr<BackingContent> file_content(const SavedTree& tree, uint32_t file);
std::unique_ptr<BackingContent> segment_content(const SavedTree& tree, int32_t segment);
// Shared anonymous memory, by its number in the tree, as the process that comes first has stored it.
std::unique_ptr<BackingContent> shared_content(const SavedTree& tree, uint32_t shared);

}  // namespace mcr::inspect
