// The images that an image builds upon, each with the one before it: `dump --prev-images-dir`. Opened as a whole, so
// that what is missing, another image or a circle is known and named before anything is read. Thread-safe.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "images/page_content.h"
#include "images/store.h"

namespace mcr::images {

inline constexpr size_t kMostParents = 1000;

// The image id of an image, 16 raw bytes.
std::string id_of(const ImageReader& reader);

struct AddressRange {
  uint64_t start = 0, end = 0;
};

class ParentChain : public ParentPages {
 public:
  // The chain that begins with the image in `directory`.
  static std::unique_ptr<ParentChain> beginning_with(const std::string& directory);
  // Of what that image builds upon; null: it is whole by itself.
  static std::unique_ptr<ParentChain> of(const ImageReader& reader);
  ~ParentChain() override;

  const ImageReader& first() const;  // the one that is built upon
  std::string first_id() const;
  std::vector<std::string> directories() const;  // the nearest first
  // Where the first image has content of the private memory of that process, in address order. Its name for itself is
  // its pid in the image.
  std::vector<AddressRange> contents(int32_t pid) const;
  // Throws when a run of source PARENT, of that image or of any in the chain, is not covered by the image before.
  void check_runs(const ImageReader& child) const;

  void read(const MemoryOwner& owner, uint32_t shared, uint64_t start, std::span<std::byte> out) const override;

  // Where the content of private memory lies in the end: in a run that is not of source PARENT.
  struct Place {
    const PageContent* content;  // to be asked for it
    MemoryOwner owner;
    const image::PageRun* run;  // these and `content` live as long as the chain
    uint64_t bytes;             // of the run from the address on, and no more than were asked for
  };
  Place find(int32_t pid, uint64_t start, uint64_t most) const;

 private:
  struct Memory {  // of one process
    std::string pages_file;
    std::vector<image::PageRun> runs;  // private ones
    std::vector<image::InheritedPages> inherited;
    int32_t lender = 0;  // whose pages it has inherited; 0: nobody's
  };
  struct Level {
    std::string directory;
    ImageReader reader;
    PageContent content;
    std::map<int32_t, Memory> processes;
    explicit Level(const std::string& path) : directory(path), reader(path), content(reader) {}
  };
  ParentChain() = default;
  // Opens it and all that it builds upon. id: the one it must have; empty: any. from: the folder that names it.
  void follow(std::string directory, std::string id, const std::string& from);
  std::vector<AddressRange> contents_at(size_t level, int32_t pid) const;
  void check_memory(const Memory& memory, size_t parent, int32_t pid, const std::string& directory) const;
  const Memory& memory_of(size_t level, int32_t pid) const;
  static Memory load(const ImageReader& reader, int32_t pid);

  std::deque<Level> levels_;  // the nearest first
  mutable std::mutex mutex_;  // of Level::processes
};

}  // namespace mcr::images
