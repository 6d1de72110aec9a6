#include "core/mem/late_pages.h"

#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>

#include "core/mem/filling.h"
#include "core/mem/vma_flags.h"
#include "core/trace/remote_memory.h"

namespace mcr::mem {
namespace {

using image::PageRun;
using image::Vma;

constexpr uint64_t kPage = 4096, kWorthWaiting = 8 * kPage;

bool is_set(const std::vector<bool>& flags, size_t i) {
  return i < flags.size() && flags[i];
}

// Calls act(mapping, run) for each private run; a run that is not inside of one mapping has the number of mappings.
template <typename Act>
void each_run(const RestoreMemory& memory, const Act& act) {
  for (size_t i = 0; i < memory.runs.size(); ++i) {
    const PageRun& run = memory.runs[i];
    if (run.shared() != 0) continue;
    const auto vma = std::ranges::partition_point(memory.vmas, [&](const Vma& m) { return m.end() <= run.start(); });
    act(vma, i);
  }
}

// Calls act(run, whether it is the first of its mapping) for each run that waits.
template <typename Act>
void each_late_run(const RestoreMemory& memory, const Act& act) {
  uint64_t mapping = 0;  // its end, of the run before
  each_run(memory, [&](auto vma, size_t i) {
    if (vma == memory.vmas.end() || !is_late(memory, memory.runs[i].start())) return;
    const bool is_first = vma->end() != mapping;
    mapping = vma->end();
    act(i, is_first);
  });
}

}  // namespace

std::vector<bool> late_mappings(const RestoreMemory& memory) {
  std::vector<uint64_t> bytes(memory.vmas.size());
  std::vector<bool> late(memory.vmas.size());
  bool is_odd = false;  // no dump writes such a run: nothing waits
  each_run(memory, [&](auto vma, size_t i) {
    const PageRun& run = memory.runs[i];
    if (vma != memory.vmas.end() && run.start() >= vma->start() && run.start() + run.bytes() <= vma->end())
      bytes[static_cast<size_t>(vma - memory.vmas.begin())] += run.bytes();
    else
      is_odd = true;
  });
  if (is_odd) return late;
  for (size_t i = 0; i < memory.vmas.size(); ++i)
    late[i] = bytes[i] >= kWorthWaiting && is_plain_memory(memory.vmas[i]) && !is_set(memory.ready, i) &&
              !is_set(memory.born_with, i) && !has_inherited(memory, memory.vmas[i]);
  return late;
}

std::vector<LatePiece> late_pieces(const RestoreMemory& memory, const std::set<uint64_t>& at_once) {
  std::vector<LatePiece> pieces;
  each_late_run(memory, [&](size_t i, bool is_first) {
    const PageRun& run = memory.runs[i];
    uint64_t start = run.start() + (is_first ? kPage : 0);
    const uint64_t end = run.start() + run.bytes();
    const auto put = [&](uint64_t until) {
      if (until > start) pieces.push_back({start, until - start, i});
    };
    for (auto page = at_once.lower_bound(start); page != at_once.end() && *page < end; ++page) {
      put(*page);
      start = *page + kPage;
    }
    put(end);
  });
  return pieces;
}

uint64_t fill_first_pages(inject::NewProcess& process, const RestoreMemory& memory, const std::set<uint64_t>& at_once) {
  const trace::RemoteMemory target(process.pid());
  std::vector<std::byte> content(kPage);
  uint64_t pages = 0;
  each_late_run(memory, [&](size_t i, bool is_first) {
    const PageRun& run = memory.runs[i];
    const auto fill = [&](uint64_t page) {
      memory.content->read({memory.pid, memory.pages_name}, run, page, content);
      target.write(RemoteAddr(page), content);
      ++pages;
    };
    if (is_first) fill(run.start());
    const uint64_t from = run.start() + (is_first ? kPage : 0), end = run.start() + run.bytes();
    for (auto page = at_once.lower_bound(from); page != at_once.end() && *page < end; ++page) fill(*page);
  });
  return pages;
}

SmallPagesOnly::SmallPagesOnly(inject::NewProcess& process) : process_(process) {
  inject::Batch batch = process.channel().batch();
  const size_t old = batch.add("prctl(PR_GET_THP_DISABLE)", SYS_prctl, {PR_GET_THP_DISABLE, 0, 0, 0, 0});
  batch.add("prctl(PR_SET_THP_DISABLE)", SYS_prctl, {PR_SET_THP_DISABLE, 1, 0, 0, 0});
  process.channel().run(batch);
  old_ = static_cast<uint64_t>(batch.result(old));
}

void SmallPagesOnly::end() {
  inject::Batch batch = process_.channel().batch();
  batch.add("prctl(PR_SET_THP_DISABLE)", SYS_prctl, {PR_SET_THP_DISABLE, old_, 0, 0, 0});
  process_.channel().run(batch);
}

}  // namespace mcr::mem
