#include "core/tree/inherited_check.h"

#include <algorithm>

#include "core/base/error.h"

namespace mcr::tree {
namespace {

constexpr uint64_t kPage = 4096;

using image::Vma;

[[noreturn]] void bad(const ProcessImage& process, uint64_t start, const char* what) {
  throw Error(Fault::image,
              fmt::format("mm-{}.img: the pages at {:#x}, inherited, {}", process.core.pid(), start, what),
              "the image is damaged or was made by a faulty program");
}

bool lies_in_private_memory(const ProcessImage& process, uint64_t start, uint64_t end) {
  const auto vma = std::ranges::upper_bound(process.vmas, start, {}, &Vma::end);
  return vma != process.vmas.end() && vma->start() <= start && end <= vma->end() &&
         (vma->kind() == Vma::PRIVATE_ANONYMOUS || vma->kind() == Vma::PRIVATE_FILE);
}

struct Stretch {
  uint64_t start, end;
};

// What a process has of its own, or has itself inherited, in address order.
std::vector<Stretch> contents_of(const ProcessImage& process) {
  std::vector<Stretch> all;
  for (const auto& run : process.runs)
    if (run.shared() == 0) all.push_back({run.start(), run.start() + run.bytes()});
  for (const auto& pages : process.inherited) all.push_back({pages.start(), pages.start() + pages.bytes()});
  std::ranges::sort(all, {}, &Stretch::start);
  return all;
}

bool is_covered(const std::vector<Stretch>& all, uint64_t start, uint64_t end) {
  for (auto at = std::ranges::upper_bound(all, start, {}, &Stretch::end); start < end; ++at) {
    if (at == all.end() || at->start > start) return false;
    start = at->end;
  }
  return true;
}

}  // namespace

const ProcessImage* lender_of(const ProcessImage& process, std::span<const ProcessImage> all) {
  const auto found =
      std::ranges::find_if(all, [&](const ProcessImage& p) { return p.core.pid() == process.core.ppid(); });
  const bool lends = found != all.end() && !found->core.zombie() && found->has_own(Shared::memory);
  return lends ? &*found : nullptr;
}

void check_inherited(const ProcessImage& process, std::span<const ProcessImage> before) {
  if (process.inherited.empty()) return;
  const ProcessImage* lender = lender_of(process, before);
  if (!lender) bad(process, process.inherited.front().start(), "have no parent that could have them");
  const std::vector<Stretch> theirs = contents_of(*lender);
  uint64_t last = 0;
  for (const auto& pages : process.inherited) {
    const uint64_t start = pages.start(), end = start + pages.bytes();
    if ((start | pages.bytes()) % kPage != 0 || pages.bytes() == 0 || end < start || start < last)
      bad(process, start, "are none");
    if (!lies_in_private_memory(process, start, end)) bad(process, start, "lie outside of its private memory");
    if (!lies_in_private_memory(*lender, start, end) || !is_covered(theirs, start, end))
      bad(process, start, "are not there in its parent");
    last = end;
  }
  const std::vector<Stretch> own = contents_of(process);
  for (size_t i = 1; i < own.size(); ++i)
    if (own[i].start < own[i - 1].end) bad(process, own[i].start, "are stored as well");
}

}  // namespace mcr::tree
