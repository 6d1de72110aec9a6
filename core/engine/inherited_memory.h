// Memory that processes have from their parents, copy-on-write, at a restore. A parent gets the mappings that its
// children share with it, and their pages, before the first of them is cloned; each child drops what it does not have
// from there. What cannot be had so (another process had to clone the child) is copied.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>

#include "core/inject/new_process.h"
#include "core/mem/address_space.h"
#include "core/procfs/maps.h"
#include "core/tree/process_image.h"
#include "images/page_content.h"

namespace mcr::engine {

// What is in the memory of a new process besides parasites: at its birth what its creator has.
struct BornMemory {
  std::vector<procfs::Mapping> kernel_pages;  // vdso and its data
  int32_t lender = 0;                         // whose pages; 0: nobody's
  bool is_empty = true;
};

class InheritedMemory {
 public:
  using OpenFile = std::function<int(uint32_t id)>;  // of files.img; the descriptor is not ours

  // `redirect`: the vdso of the image is to be taken for another one than this kernel's in any case.
  // `threads`: that fill at once, as in mem::RestoreMemory.
  InheritedMemory(const std::vector<tree::ProcessImage>& images, const images::PageContent& content, unsigned threads,
                  const std::vector<procfs::Mapping>& ours, bool redirect, OpenFile open_file);

  const std::vector<procfs::Mapping>& kernel_pages() const { return kernel_pages_; }  // of this process
  bool redirects_vdso(int32_t pid) const { return redirected_.contains(pid); }
  bool is_lender(int32_t pid) const { return lent_.contains(pid); }
  bool is_lender_of_any(int32_t pid) const;  // its pages are needed again, for processes that come later

  // A process with memory of its own has been born with `memory`, which becomes what it has now. Before it clones. One
  // that lends nothing may be settled by another thread.
  void settle(int32_t pid, inject::NewProcess& process, BornMemory& memory);

  uint64_t pages_filled() const { return pages_filled_; }

  // ---- when the rest of its memory is made ----
  // Where the live vdso is, if it has been placed, and where it has been found.
  std::optional<uint64_t> vdso(int32_t pid) const;
  const std::vector<procfs::Mapping>& kernel_pages(int32_t pid) const;
  void describe(int32_t pid, mem::RestoreMemory& memory) const;  // born_with, ready
  // The inherited pages that it does not have from its parent, where the mappings are there and not ready. Their
  // number.
  uint64_t copy_rest(int32_t pid, inject::NewProcess& process, const mem::RestoreMemory& memory) const;

 private:
  struct Settled {
    std::vector<procfs::Mapping> kernel_pages;
    std::optional<uint64_t> vdso;
    std::vector<bool> born_with, filled;  // by mapping
  };
  const tree::ProcessImage& image(int32_t pid) const { return *by_pid_.at(pid); }
  void find_lent(const tree::ProcessImage& child);
  Settled& entry_of(int32_t pid);
  bool can_be_made_alone(const tree::ProcessImage& image, size_t vma) const;
  std::vector<bool> keep(const tree::ProcessImage& image, inject::NewProcess& process, const BornMemory& memory) const;
  void drop_stale_pages(const tree::ProcessImage& image, inject::NewProcess& process,
                        const std::vector<bool>& kept) const;
  std::vector<int> send_files(const tree::ProcessImage& image, inject::NewProcess& process,
                              mem::RestoreMemory& memory) const;
  void fill_lent(const tree::ProcessImage& image, inject::NewProcess& process, Settled& settled);
  uint64_t copy(const tree::ProcessImage& from, uint64_t start, uint64_t end, inject::NewProcess& to) const;

  const std::vector<tree::ProcessImage>& images_;
  const images::PageContent& content_;
  const unsigned threads_;
  std::vector<procfs::Mapping> kernel_pages_;
  OpenFile open_file_;
  std::set<int32_t> redirected_;
  std::map<int32_t, const tree::ProcessImage*> by_pid_;
  std::map<int32_t, std::vector<bool>> lent_;      // by lender, by its mappings
  std::map<int32_t, std::vector<bool>> borrowed_;  // by child, by its mappings: those that hold inherited pages
  std::map<int32_t, Settled> settled_;
  std::mutex entering_;  // into it
  uint64_t pages_filled_ = 0;
};

}  // namespace mcr::engine
