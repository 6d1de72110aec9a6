// A dump that builds upon another and lets the program go on: the few pages that were written since are copied while it
// stands still (mem::PageRoom), compared, written and summed when it runs again.
#pragma once

#include <optional>
#include <vector>

#include "core/mem/page_room.h"
#include "core/tree/process_image.h"
#include "images/proto/stats.pb.h"
#include "images/store.h"

namespace mcr::engine {

// What is left to be done for one process. Its image has the runs of all that is not private memory.
struct HeldProcess {
  mem::HeldPages pages;
  std::vector<mem::PageSource> unchanged;  // in the parent image
  UniqueFd file;
  uint64_t offset;  // in it, where what is stored already ends
};

class HeldMemory {
 public:
  void prepare();  // before the freeze
  // nullopt: they are to be stored now. Nothing is held unless prepared.
  std::optional<mem::HeldPages> hold(const trace::RemoteMemory& memory, const std::vector<mem::PageSource>& sources);
  void add(size_t index, HeldProcess process);  // `index`: of the process among the images
  void store(std::vector<tree::ProcessImage>& images, images::ImageWriter& writer,
             mcr::image::DumpStatistics& statistics);

 private:
  struct Entry {
    size_t index;
    HeldProcess process;
  };
  std::optional<mem::PageRoom> room_;
  std::vector<Entry> entries_;
};

// Runs of source PARENT; in any order.
void append_unchanged(tree::ProcessImage& image, const std::vector<mem::PageSource>& unchanged);

}  // namespace mcr::engine
