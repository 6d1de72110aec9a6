// The memory of one saved process at any address, as the program itself would read it: its own pages wherever the image
// has them (pages files, streams, zeros, images before this one, its parent), what it shares, and files that it has
// mapped, read from this host where they are the same as at the dump. One thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/inspect/file_content.h"
#include "core/inspect/saved_tree.h"

namespace mcr::inspect {

class ProcessMemory {
 public:
  // `tree` must outlive it. Throws Error (refused) for a process that had ended.
  ProcessMemory(const SavedTree& tree, int32_t pid);
  ~ProcessMemory();

  // Of a process that shares its memory with another one: those of that one.
  const std::vector<mcr::image::Vma>& mappings() const { return process_.vmas; }
  const mcr::image::Vma* mapping_at(uint64_t address) const;  // null: nothing is mapped there

  // Copies from `address` on, up to the first byte that is not mapped or that nobody has; returns how many. Reading in
  // small pieces is cheap. Throws Fault::image when a page is damaged.
  size_t read(uint64_t address, std::span<std::byte> out);
  // All or nothing.
  bool read_exactly(uint64_t address, std::span<std::byte> out) { return read(address, out) == out.size(); }
  template <typename T>
  bool read_value(uint64_t address, T& value) {
    return read_exactly(address, std::as_writable_bytes(std::span(&value, 1)));
  }

  struct Piece {
    uint64_t start = 0, end = 0;
    Source source = Source::missing;
  };
  // The mapping in pieces, in address order without a gap; no two neighbours are of one source. What the image says is
  // zero is Source::zeros, like what was never written to. Of a file, Source::file is what the process has not changed.
  std::vector<Piece> pieces_of(const mcr::image::Vma& vma);
  // Why bytes of the mapping are missing; empty when none are, but those behind the end of a file.
  std::string why_missing(const mcr::image::Vma& vma);
  // The mapped file's name, "" when it is none.
  std::string file_name(const mcr::image::Vma& vma) const;

 private:
  struct Place {       // of the bytes at an address
    uint64_t end = 0;  // up to here they come from the same
    Source source = Source::missing;
    enum class Where { own_run, inherited, backing } where = Where::backing;
    const mcr::image::PageRun* run = nullptr;
  };
  Place place_of(const mcr::image::Vma& vma, uint64_t address);
  size_t read_mapping(const mcr::image::Vma& vma, uint64_t address, std::span<std::byte> out);
  size_t read_in_page(uint64_t address, std::span<std::byte> out);
  size_t read_plainly(uint64_t address, std::span<std::byte> out);
  void read_inherited(uint64_t address, std::span<std::byte> out);
  using Runs = std::vector<const mcr::image::PageRun*>;
  const Runs& private_runs(const tree::ProcessImage& process);
  const BackingContent& backing_of(const mcr::image::Vma& vma);
  std::unique_ptr<BackingContent> make_backing(const mcr::image::Vma& vma) const;

  const SavedTree& tree_;
  const tree::ProcessImage& process_;
  const tree::ProcessImage& owner_;  // who stores its memory: itself, or the first of those that share it
  std::map<const tree::ProcessImage*, Runs> private_runs_;                        // in address order
  std::map<std::pair<int, uint32_t>, std::unique_ptr<BackingContent>> backings_;  // by kind and number
  std::map<uint64_t, std::vector<std::byte>> pages_;                              // that were read last
};

}  // namespace mcr::inspect
