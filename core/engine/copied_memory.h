// dump --live: private memory that is stored when the program runs again, out of copies that were made while it stood.
#pragma once

#include <memory>
#include <set>
#include <vector>

#include "core/inject/memory_copy.h"
#include "core/mem/page_writer.h"
#include "core/tree/process_image.h"
#include "images/proto/stats.pb.h"
#include "images/store.h"

namespace mcr::engine {

// What is left to be done for one process. The image has its mappings, and the runs of what is not in the copy.
struct CopiedProcess {
  std::unique_ptr<inject::MemoryCopy> copy;
  UniqueFd pages;
  uint64_t offset = 0;              // in its file of pages, where what is stored already ends
  bool has_early_mappings = false;  // they are still to be put right
  std::set<uint64_t> copied;        // where the mappings start whose pages are only in the copy
};

class CopiedMemory {
 public:
  // A process that a copy of its own memory, or of its descendants', would become a child of (PR_SET_CHILD_SUBREAPER,
  // process 1 of a pid namespace).
  void note_adopter(HostPid pid) { adopters_.insert(pid); }
  bool would_be_adopted(const trace::FrozenTree& tree, HostPid pid) const;
  // `index`: of the process among the images. Parents before children.
  void add(size_t index, CopiedProcess process);
  // Once the tree runs. Ends the copies. Throws when one was ended from outside.
  void store(std::vector<tree::ProcessImage>& images, images::ImageWriter& writer,
             mcr::image::DumpStatistics& statistics, const mem::OtherFiles& others);

 private:
  struct Entry {
    size_t index;
    CopiedProcess process;
  };
  void store_one(const Entry& entry, std::vector<tree::ProcessImage>& images, images::ImageWriter& writer,
                 mcr::image::DumpStatistics& statistics, const mem::OtherFiles& others);
  const Entry* entry_of(const tree::ProcessImage* image, const std::vector<tree::ProcessImage>& images) const;
  std::vector<Entry> entries_;
  std::set<HostPid> adopters_;
};

}  // namespace mcr::engine
