#include "core/mem/page_selection.h"

#include <sys/mman.h>

#include <algorithm>

#include "core/mem/vma_flags.h"

namespace mcr::mem {
namespace {

using image::Vma;

constexpr uint64_t kPage = 4096;

bool has_private_pages(const Vma& vma) {
  return vma.kind() == Vma::PRIVATE_ANONYMOUS || vma.kind() == Vma::PRIVATE_FILE;
}

// In shared memory, whose page tables would be walked for nothing else, a kernel that prints "gu" (VM_MAYBE_GUARD, 6.19
// and some before) tells where there may be any.
bool may_have_guards(const Vma& vma) {
  if (vma.kind() != Vma::SHARED_FILE && vma.kind() != Vma::SHARED_ANONYMOUS) return false;
  constexpr uint64_t kNotWorthAsking = 64 << 20;
  return has_vm_flag(vma, "gu") || vma.end() - vma.start() < kNotWorthAsking || !sys::shows_guard_flag();
}

}  // namespace

void note_guards(std::vector<Vma>& vmas, const std::vector<sys::PageRange>& guards) {
  size_t vma = 0;
  for (sys::PageRange range : guards)
    while (range.start < range.end) {
      while (vmas[vma].end() <= range.start) ++vma;
      const uint64_t end = std::min(range.end, vmas[vma].end());
      auto* span = vmas[vma].add_guards();
      span->set_start(range.start);
      span->set_bytes(end - range.start);
      range.start = end;
    }
}

void cut_at_mappings(std::span<const Vma> vmas, const std::vector<sys::PageRange>& ranges,
                     std::vector<PageSource>& out) {
  size_t vma = 0;
  for (sys::PageRange range : ranges) {
    while (range.start < range.end) {
      while (vmas[vma].end() <= range.start) ++vma;
      const uint64_t end = std::min(range.end, vmas[vma].end());
      out.push_back({range.start, end - range.start, (vmas[vma].prot() & PROT_READ) != 0});
      range.start = end;
    }
  }
}

namespace {

// A stretch with holes: where these are many, looking at all of it costs less than asking for each part.
void look_around(const sys::Pagemap& pagemap, uint64_t start, uint64_t end, std::span<const sys::PageRange> left_out,
                 std::vector<sys::PageRange>& ranges, std::vector<sys::PageRange>& guards) {
  constexpr uint64_t kWorthSkipping = 48 * kPage;  // for each question
  const bool asks_for_each = left_out.size() * kWorthSkipping < end - start;
  std::vector<sys::PageRange> all, all_guards;
  if (!asks_for_each) pagemap.private_pages(start, end, all, all_guards);
  uint64_t at = start;
  const auto cut = [](std::vector<sys::PageRange>& from, uint64_t first, uint64_t last,
                      std::vector<sys::PageRange>& out) {
    auto next = std::ranges::partition_point(from, [&](const auto& r) { return r.end <= first; });
    for (; next != from.end() && next->start < last; ++next)
      out.push_back({std::max(first, next->start), std::min(last, next->end)});
  };
  const auto take = [&](uint64_t first, uint64_t last) {
    if (first >= last) return;
    if (asks_for_each) return pagemap.private_pages(first, last, ranges, guards);
    cut(all, first, last, ranges);
    cut(all_guards, first, last, guards);
  };
  for (const sys::PageRange& range : left_out) {
    take(at, range.start);
    at = range.end;
  }
  take(at, end);
}

}  // namespace

// Private mappings that follow one another without a gap are scanned with one call; shared ones for their guard pages
// only.
std::vector<PageSource> select_pages(const sys::Pagemap& pagemap, std::vector<Vma>& vmas, const Wanted& wanted,
                                     const std::vector<sys::PageRange>& left_out) {
  const auto is_wanted = [&](const Vma& vma) { return !wanted || wanted(vma); };
  std::vector<PageSource> sources;
  std::vector<sys::PageRange> ranges, guards;
  for (size_t first = 0; first < vmas.size();) {
    size_t last = first;
    while (last < vmas.size() && has_private_pages(vmas[last]) && is_wanted(vmas[last]) &&
           (last == first || vmas[last].start() == vmas[last - 1].end()))
      ++last;
    if (last > first) {
      ranges.clear();
      const uint64_t start = vmas[first].start(), end = vmas[last - 1].end();
      const auto skipped = std::ranges::partition_point(left_out, [&](const auto& r) { return r.end <= start; });
      const auto behind = std::ranges::partition_point(left_out, [&](const auto& r) { return r.start < end; });
      look_around(pagemap, start, end, std::span(skipped, behind), ranges, guards);
      cut_at_mappings(std::span(vmas).subspan(first, last - first), ranges, sources);
    } else if (may_have_guards(vmas[first]) && is_wanted(vmas[first])) {
      pagemap.guard_pages(vmas[first].start(), vmas[first].end(), guards);
    }
    first = std::max(last, first + 1);
  }
  note_guards(vmas, guards);
  return sources;
}

// "dc" and "wf": MADV_DONTFORK, MADV_WIPEONFORK. Of hugetlb the copy loses a page that the program writes to when there
// is no other one.
bool is_copied_on_write(const Vma& vma) {
  return has_private_pages(vma) && !has_vm_flag(vma, "dc") && !has_vm_flag(vma, "wf") && vma.huge_page_shift() == 0;
}

}  // namespace mcr::mem
