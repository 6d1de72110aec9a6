#include "core/mem/write_tracking.h"

#include <algorithm>

#include "core/mem/vma_flags.h"
#include "core/sys/write_watch.h"

namespace mcr::mem {
namespace {

using image::Vma;
using sys::PageRange;
using Ranges = std::vector<PageRange>;

constexpr uint64_t kPage = 4096;
constexpr std::string_view kWatchFlag = "uw";

void append(Ranges& ranges, uint64_t start, uint64_t end) {
  if (!ranges.empty() && ranges.back().end == start)
    ranges.back().end = end;
  else
    ranges.push_back({start, end});
}

// Another userfaultfd's stay as they are.
bool is_watched_by(int watch, const procfs::Mapping& m) {
  return m.has_flag(kWatchFlag) && !m.has_flag("um") && !m.has_flag("ui") && sys::try_watch(watch, m.start, m.end) == 0;
}

}  // namespace

bool can_be_watched(const Vma& vma) {
  return vma.kind() == Vma::PRIVATE_ANONYMOUS && vma.huge_page_shift() == 0 && !has_vm_flag(vma, "dp");
}

Ranges own_watched(std::vector<procfs::Mapping>& mappings, int watch) {
  Ranges watched;
  for (procfs::Mapping& m : mappings) {
    if (!is_watched_by(watch, m)) continue;
    std::erase(m.vm_flags, kWatchFlag);
    append(watched, m.start, m.end);
  }
  return watched;
}

Ranges common_ranges(const Ranges& a, const Ranges& b) {
  Ranges both;
  for (size_t i = 0, k = 0; i < a.size() && k < b.size();) {
    const uint64_t start = std::max(a[i].start, b[k].start), end = std::min(a[i].end, b[k].end);
    if (start < end) append(both, start, end);
    if (a[i].end < b[k].end)
      ++i;
    else
      ++k;
  }
  return both;
}

Ranges ranges_without(const Ranges& from, const Ranges& taken) {
  Ranges left;
  size_t next = 0;
  for (const PageRange& range : from) {
    uint64_t at = range.start;
    while (next < taken.size() && taken[next].end <= at) ++next;
    for (size_t i = next; i < taken.size() && taken[i].start < range.end; ++i) {
      if (taken[i].start > at) left.push_back({at, taken[i].start});
      at = std::max(at, taken[i].end);
    }
    if (at < range.end) left.push_back({at, range.end});
  }
  return left;
}

namespace {

// False: the kernel cannot tell.
bool find_unwritten(const sys::Pagemap& pagemap, const Ranges& tracked, Ranges& unwritten) {
  for (const PageRange& range : tracked)
    if (!pagemap.unwritten_pages(range.start, range.end, unwritten)) return false;
  return true;
}

bool find_written(const sys::Pagemap& pagemap, const Ranges& tracked, Ranges& written, Ranges& guards) {
  for (const PageRange& range : tracked)
    if (!pagemap.written_pages(range.start, range.end, written, guards)) return false;
  return true;
}

}  // namespace

// Most of it is seen in two passes over the page tables: what was not written, and what of the rest has content. Only
// what was not written and is to be stored all the same is asked for by itself.
ChangedPages select_changed(const sys::Pagemap& pagemap, std::vector<Vma>& vmas, const Ranges& watched,
                            const Ranges& known, const Ranges& pinned) {
  ChangedPages pages;
  Ranges unwritten, watchable, written, guards;
  for (const Vma& vma : vmas)
    if (can_be_watched(vma)) append(watchable, vma.start(), vma.end());
  const Ranges tracked = common_ranges(watched, watchable);
  if (!find_unwritten(pagemap, tracked, unwritten)) unwritten.clear();
  const Ranges kept = ranges_without(common_ranges(unwritten, known), pinned);
  if (kept.empty() || !find_written(pagemap, tracked, written, guards)) {
    pages.changed = select_pages(pagemap, vmas, {}, kept);
  } else {
    pages.changed = select_pages(pagemap, vmas, {}, ranges_without(tracked, ranges_without(unwritten, kept)));
    cut_at_mappings(vmas, written, pages.changed);
    std::ranges::sort(pages.changed, {}, &PageSource::start);
    note_guards(vmas, guards);
  }
  cut_at_mappings(vmas, kept, pages.unchanged);
  return pages;
}

bool watch_anew(int watch, const sys::Pagemap& pagemap, const std::vector<Vma>& vmas, Ranges contents) {
  std::ranges::sort(contents, {}, &PageRange::start);
  Ranges joined, watched;
  for (const PageRange& range : contents) append(joined, range.start, range.end);
  for (size_t first = 0; first < vmas.size();) {
    size_t last = first;
    while (last < vmas.size() && can_be_watched(vmas[last])) ++last;
    if (last > first) {
      const uint64_t start = vmas[first].start(), end = vmas[last - 1].end();
      if (sys::try_watch(watch, start, end) == 0) {
        watched.push_back({start, end});
      } else {  // one of them cannot be had
        for (size_t i = first; i < last; ++i)
          if (sys::try_watch(watch, vmas[i].start(), vmas[i].end()) == 0)
            append(watched, vmas[i].start(), vmas[i].end());
      }
    }
    first = std::max(last, first + 1);
  }
  return std::ranges::all_of(common_ranges(joined, watched),
                             [&](const PageRange& range) { return pagemap.try_protect(range.start, range.end); });
}

}  // namespace mcr::mem
