// Which pages of a process were written since the dump before, by what the kernel has noted (core/sys/write_watch.h),
// and how that is noted anew. For a process that stands still; one thread.
//
// Watched are ordinary private anonymous mappings. Of a private mapping of a file, and of huge pages, a page that was
// given back (MADV_DONTNEED) keeps its mark, and would look unwritten for a moment when it comes anew. Shared memory is
// written through mappings that are not watched.
#pragma once

#include <vector>

#include "core/mem/page_selection.h"
#include "core/procfs/maps.h"
#include "core/sys/pagemap.h"
#include "images/proto/mm.pb.h"

namespace mcr::mem {

bool can_be_watched(const mcr::image::Vma& vma);

// Takes the flag of the watch out of the mappings that `watch` has, so that what is left of it is the program's own.
// Returns the mappings that were watched, in address order, neighbours joined.
std::vector<sys::PageRange> own_watched(std::vector<procfs::Mapping>& mappings, int watch);

struct ChangedPages {
  std::vector<PageSource> changed;    // to be stored
  std::vector<PageSource> unchanged;  // as in the parent image
};
// As select_pages(). watched: of own_watched(). known: what the parent image has of the process. pinned: what devices
// and the kernel may write to without the page tables (registered buffers of io_uring(7)). All in address order.
ChangedPages select_changed(const sys::Pagemap& pagemap, std::vector<mcr::image::Vma>& vmas,
                            const std::vector<sys::PageRange>& watched, const std::vector<sys::PageRange>& known,
                            const std::vector<sys::PageRange>& pinned);

// From here on it is noted what is written to the mappings that can be watched; `contents`: all stretches with content,
// in any order. False: it cannot be noted.
bool watch_anew(int watch, const sys::Pagemap& pagemap, const std::vector<mcr::image::Vma>& vmas,
                std::vector<sys::PageRange> contents);

// Of lists in address order.
std::vector<sys::PageRange> common_ranges(const std::vector<sys::PageRange>& a, const std::vector<sys::PageRange>& b);
std::vector<sys::PageRange> ranges_without(const std::vector<sys::PageRange>& from,
                                           const std::vector<sys::PageRange>& taken);

}  // namespace mcr::mem
