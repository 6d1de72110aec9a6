#include "core/mem/inheritance.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/mem/vma_flags.h"

namespace mcr::mem {
namespace {

using image::InheritedPages;
using image::PageRun;
using image::Vma;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kMostWords = 64 << 10;  // of pagemap at once

// Set when the pages are there, or following from them: soft-dirty, mlock(2), madvise(2).
bool comes_later(std::string_view flag) {
  constexpr std::array<std::string_view, 8> kLater{"sd", "lo", "sr", "rr", "dc", "mg", "wf", "dd"};
  return std::ranges::find(kLater, flag) != kLater.end();
}

bool same_flags(const Vma& a, const Vma& b) {
  const auto count = [](const Vma& vma) { return std::ranges::count_if(vma.vm_flags(), std::not_fn(comes_later)); };
  return count(a) == count(b) &&
         std::ranges::all_of(a.vm_flags(), [&](const auto& flag) { return comes_later(flag) || has_vm_flag(b, flag); });
}

// Ordinary private memory, with nothing about it that only its maker could give.
bool is_plain(const Vma& vma) {
  return (vma.kind() == Vma::PRIVATE_ANONYMOUS || vma.kind() == Vma::PRIVATE_FILE) && vma.huge_page_shift() == 0 &&
         !has_vm_flag(vma, "dp") && vma.protection_key() == 0 && !vma.lazily_freed() && vma.guards().empty() &&
         !vma.has_policy();
}

// Words of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst): bits 0-54 frame, or type and offset in swap;
// 56 mapped by this process only; 61 of a file; 62 swapped; 63 present. The others say nothing about which page it is.
constexpr uint64_t kFrame = (1ULL << 55) - 1, kExclusive = 1ULL << 56, kOfFile = 1ULL << 61, kHere = 3ULL << 62;

bool may_be_shared(uint64_t word) {
  return (word & kHere) != 0 && (word & kFrame) != 0 && (word & (kExclusive | kOfFile)) == 0;
}

bool is_one(uint64_t a, uint64_t b) {
  return may_be_shared(a) && may_be_shared(b) && ((a ^ b) & (kFrame | kHere)) == 0;
}

struct Range {
  uint64_t start, end;
};

// `first`: of those it may be joined with. A range never reaches over the end of a mapping.
void append(std::vector<Range>& ranges, size_t first, uint64_t start, uint64_t end) {
  if (ranges.size() > first && ranges.back().end == start)
    ranges.back().end = end;
  else
    ranges.push_back({start, end});
}

// A page may be swapped out or moved between two looks: it counts when ours is the same before and after the look at
// the parent's.
void find_common(const sys::Pagemap& own, const sys::Pagemap& lender, Range range, std::vector<Range>& out) {
  const size_t first = out.size();
  for (uint64_t start = range.start; start < range.end; start += kMostWords * kPage) {
    const uint64_t end = std::min(range.end, start + kMostWords * kPage);
    const std::vector<uint64_t> before = own.words(start, end);
    if (std::ranges::none_of(before, may_be_shared)) continue;
    const std::vector<uint64_t> theirs = lender.words(start, end), after = own.words(start, end);
    const size_t known = std::min({before.size(), theirs.size(), after.size()});
    for (size_t i = 0; i < known; ++i)
      if (is_one(before[i], theirs[i]) && is_one(after[i], theirs[i]))
        append(out, first, start + i * kPage, start + (i + 1) * kPage);
  }
}

// What the image has of the parent's private memory, in address order.
std::vector<Range> stored(const Lender& lender) {
  std::vector<Range> all;
  for (const PageRun& run : lender.runs)
    if (run.shared() == 0) all.push_back({run.start(), run.start() + run.bytes()});
  for (const InheritedPages& pages : lender.inherited) all.push_back({pages.start(), pages.start() + pages.bytes()});
  std::ranges::sort(all, {}, &Range::start);
  return all;
}

std::vector<Range> common_to(const std::vector<Range>& a, const std::vector<Range>& b) {
  std::vector<Range> both;
  for (size_t i = 0, k = 0, first = 0; i < a.size() && k < b.size();) {
    const uint64_t start = std::max(a[i].start, b[k].start), end = std::min(a[i].end, b[k].end);
    if (start < end) append(both, first, start, end);
    if (a[i].end < b[k].end)
      ++i, first = both.size();
    else
      ++k;
  }
  return both;
}

// What is left of the sources without these.
std::vector<PageSource> without(const std::vector<PageSource>& sources, const std::vector<Range>& taken) {
  std::vector<PageSource> left;
  size_t next = 0;
  for (const PageSource& source : sources) {
    uint64_t at = source.start;
    const uint64_t end = source.start + source.bytes;
    while (next < taken.size() && taken[next].end <= at) ++next;
    for (size_t i = next; i < taken.size() && taken[i].start < end; ++i) {
      if (taken[i].start > at) left.push_back({at, taken[i].start - at, source.readable});
      at = std::max(at, taken[i].end);
    }
    if (at < end) left.push_back({at, end - at, source.readable});
  }
  return left;
}

}  // namespace

namespace {

// Both anonymous, or the same place in the same file.
bool same_object(const Vma& child, const Vma& parent) {
  if (child.kind() != parent.kind()) return false;
  return child.kind() == Vma::PRIVATE_ANONYMOUS ||
         (child.file() == parent.file() && child.offset() - parent.offset() == child.start() - parent.start());
}

}  // namespace

size_t find_origin(const Vma& child, const std::vector<Vma>& parents) {
  const auto found = std::ranges::upper_bound(parents, child.start(), {}, &Vma::end);
  if (found == parents.end() || found->start() > child.start() || found->end() < child.end()) return kNoVma;
  const bool is_same = is_plain(child) && is_plain(*found) && same_object(child, *found) &&
                       child.prot() == found->prot() && child.name() == found->name() && same_flags(child, *found);
  return is_same ? static_cast<size_t>(found - parents.begin()) : kNoVma;
}

std::vector<InheritedPages> take_inherited(std::vector<PageSource>& sources, const std::vector<Vma>& vmas,
                                           const sys::Pagemap& pagemap, const Lender& lender) {
  std::vector<Range> common;
  size_t vma = 0, known = kNoVma;
  bool has_origin = false;
  for (const PageSource& source : sources) {
    while (vmas[vma].end() <= source.start) ++vma;
    if (vma != known) has_origin = find_origin(vmas[vma], lender.vmas) != kNoVma, known = vma;
    if (has_origin) find_common(pagemap, lender.pagemap, {source.start, source.start + source.bytes}, common);
  }
  if (common.empty()) return {};
  common = common_to(common, stored(lender));
  sources = without(sources, common);
  std::vector<InheritedPages> inherited;
  for (const Range& range : common) {
    InheritedPages& pages = inherited.emplace_back();
    pages.set_start(range.start), pages.set_bytes(range.end - range.start);
  }
  return inherited;
}

}  // namespace mcr::mem
