// Pages that a process has from its parent since fork(2), copy-on-write: stored with the parent only, and shared again
// when the child is cloned from a parent that has them already. Both directions; one thread.
#pragma once

#include <vector>

#include "core/mem/page_selection.h"
#include "core/sys/pagemap.h"
#include "images/proto/mm.pb.h"

namespace mcr::mem {

inline constexpr size_t kNoVma = ~size_t{0};

// The index of the parent's mapping out of which a child's can have come and is still the same but for what is set
// after its pages are there (mlock(2), most of madvise(2)); kNoVma: none.
size_t find_origin(const mcr::image::Vma& child, const std::vector<mcr::image::Vma>& parents);

struct Lender {  // the parent, dumped before and standing still
  const std::vector<mcr::image::Vma>& vmas;
  const std::vector<mcr::image::PageRun>& runs;
  const std::vector<mcr::image::InheritedPages>& inherited;
  const sys::Pagemap& pagemap;
};

// Takes out of `sources`, which are in address order, the pages that are one with the parent's at the same address.
// Without CAP_SYS_ADMIN, to whom alone the kernel shows page frames, nothing is.
std::vector<mcr::image::InheritedPages> take_inherited(std::vector<PageSource>& sources,
                                                       const std::vector<mcr::image::Vma>& vmas,
                                                       const sys::Pagemap& pagemap, const Lender& lender);

}  // namespace mcr::mem
