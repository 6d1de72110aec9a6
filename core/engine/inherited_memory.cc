#include "core/engine/inherited_memory.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/mem/attributes.h"
#include "core/mem/inheritance.h"
#include "core/mem/neighbours.h"
#include "core/mem/page_reader.h"
#include "core/mem/vdso.h"
#include "core/sys/file.h"
#include "core/trace/remote_memory.h"
#include "core/tree/inherited_check.h"

namespace mcr::engine {
namespace {

using image::InheritedPages;
using image::PageRun;
using image::Vma;
using tree::ProcessImage;

bool is_set(const std::vector<bool>& flags, size_t i) {
  return i < flags.size() && flags[i];
}

size_t index_of(const std::vector<Vma>& vmas, uint64_t address) {
  return static_cast<size_t>(std::ranges::upper_bound(vmas, address, {}, &Vma::end) - vmas.begin());
}

mem::RestoreMemory memory_of(const ProcessImage& image) {
  return {image.map, image.vmas, image.runs, image.inherited,        image.shared, {},
          {},        nullptr,    -1,         image.map.pages_file(), {},           {},
          {},        {}};
}

}  // namespace

InheritedMemory::InheritedMemory(const std::vector<ProcessImage>& images, const images::PageContent& content,
                                 unsigned threads, const std::vector<procfs::Mapping>& ours, bool redirect,
                                 OpenFile open_file)
    : images_(images),
      content_(content),
      threads_(threads),
      kernel_pages_(mem::kernel_pages_of(ours)),
      open_file_(std::move(open_file)) {
  redirect = redirect || !mem::is_same_vdso(content.reader().inventory().vdso());
  for (const ProcessImage& image : images) {
    by_pid_.emplace(image.core.pid(), &image);
    if (redirect || !mem::has_same_layout(ours, image.vmas)) redirected_.insert(image.core.pid());
  }
  for (const ProcessImage& image : images)
    if (!image.inherited.empty()) find_lent(image);
}

// The parents come first: whether they have what they lend from their own parents is known.
void InheritedMemory::find_lent(const ProcessImage& child) {
  const ProcessImage* lender = tree::lender_of(child, images_);
  if (!lender || child.map.merge_any() || lender->map.merge_any()) return;
  const int32_t owner = lender->core.pid();
  const auto own = mem::find_separations(child.vmas);
  for (const InheritedPages& pages : child.inherited) {
    const size_t vma = index_of(child.vmas, pages.start()), origin = mem::find_origin(child.vmas[vma], lender->vmas);
    if (origin == mem::kNoVma) continue;
    if (!can_be_made_alone(*lender, origin)) continue;
    if (own[vma].needed && child.vmas[vma].kind() == Vma::PRIVATE_FILE) continue;
    lent_[owner].resize(lender->vmas.size()), lent_[owner][origin] = true;
    borrowed_[child.core.pid()].resize(child.vmas.size()), borrowed_[child.core.pid()][vma] = true;
  }
}

// What the kernel would join with a neighbour is kept apart by its history. It never joins anything with what has come
// by fork(2) (mm/vma.c, is_mergeable_anon_vma(): its anon_vma is not the only one).
bool InheritedMemory::can_be_made_alone(const ProcessImage& image, size_t vma) const {
  const auto borrowed = borrowed_.find(image.core.pid());
  const auto comes_by_fork = [&](size_t i) { return borrowed != borrowed_.end() && is_set(borrowed->second, i); };
  const auto& vmas = image.vmas;
  return comes_by_fork(vma) ||
         ((vma == 0 || !mem::would_join(vmas[vma - 1], vmas[vma]) || comes_by_fork(vma - 1)) &&
          (vma + 1 == vmas.size() || !mem::would_join(vmas[vma], vmas[vma + 1]) || comes_by_fork(vma + 1)));
}

void InheritedMemory::settle(int32_t pid, inject::NewProcess& process, BornMemory& memory) {
  if (memory.is_empty && !is_lender(pid)) return;
  const Step step("memory of process {}", pid);
  Settled& settled = entry_of(pid);
  settled.kernel_pages = memory.kernel_pages;
  if (!memory.is_empty) settled.born_with = keep(image(pid), process, memory);
  memory.lender = 0;
  memory.is_empty = std::ranges::find(settled.born_with, true) == settled.born_with.end();
  if (!is_lender(pid)) return;
  inject::Batch batch = process.channel().batch();
  batch.add("personality", SYS_personality, {0});  // READ_IMPLIES_EXEC would change every mapping that is made
  process.channel().run(batch);
  settled.vdso = mem::place_vdso(process, settled.kernel_pages, image(pid).vmas, content_.reader().inventory().vdso(),
                                 redirects_vdso(pid));
  settled.kernel_pages = mem::moved_to(settled.kernel_pages, *settled.vdso);
  fill_lent(image(pid), process, settled);
  memory = {settled.kernel_pages, pid, false};
}

InheritedMemory::Settled& InheritedMemory::entry_of(int32_t pid) {
  const std::lock_guard held(entering_);
  return settled_[pid];
}

// Its mappings that it has been born with; the rest goes.
std::vector<bool> InheritedMemory::keep(const ProcessImage& image, inject::NewProcess& process,
                                        const BornMemory& memory) const {
  std::vector<bool> kept;
  const auto borrowed = borrowed_.find(image.core.pid());
  if (memory.lender == image.core.ppid() && borrowed != borrowed_.end()) kept = borrowed->second;
  std::vector<mem::AddressRange> ranges;
  for (size_t i = 0; i < image.vmas.size(); ++i)
    if (is_set(kept, i)) ranges.push_back({image.vmas[i].start(), image.vmas[i].end()});
  mem::drop_inherited_mappings(process, memory.kernel_pages, std::move(ranges));
  drop_stale_pages(image, process, kept);
  return kept;
}

// Of the pages in what is kept those that it has of its own, or not at all.
void InheritedMemory::drop_stale_pages(const ProcessImage& image, inject::NewProcess& process,
                                       const std::vector<bool>& kept) const {
  mem::CallQueue calls(process.channel());
  const auto drop = [&](uint64_t start, uint64_t end) {
    if (start >= end) return;
    calls.make_room();
    calls.batch().add("madvise(MADV_DONTNEED)", SYS_madvise, {start, end - start, MADV_DONTNEED});
  };
  auto pages = image.inherited.begin();
  for (size_t i = 0; i < image.vmas.size(); ++i) {
    if (!is_set(kept, i)) continue;
    uint64_t at = image.vmas[i].start();
    while (pages != image.inherited.end() && pages->start() < at) ++pages;
    for (; pages != image.inherited.end() && pages->start() < image.vmas[i].end(); ++pages) {
      drop(at, pages->start());
      at = pages->start() + pages->bytes();
    }
    drop(at, image.vmas[i].end());
  }
  calls.run();
}

// Their numbers there.
std::vector<int> InheritedMemory::send_files(const ProcessImage& image, inject::NewProcess& process,
                                             mem::RestoreMemory& memory) const {
  std::vector<uint32_t> ids;
  for (size_t i = 0; i < image.vmas.size(); ++i)
    if (const Vma& vma = image.vmas[i]; !memory.ready[i] && vma.file() != 0 && !std::ranges::count(ids, vma.file()))
      ids.push_back(vma.file());
  std::vector<int> fds{memory.pages->get()};
  for (const uint32_t id : ids) fds.push_back(open_file_(id));
  const std::vector<int> remote = process.channel().send_all(fds);
  memory.remote_pages_fd = remote.front();
  for (size_t i = 0; i < ids.size(); ++i) memory.files[ids[i]] = remote[i + 1];
  return remote;
}

bool InheritedMemory::is_lender_of_any(int32_t pid) const {
  return std::ranges::any_of(images_, [&](const ProcessImage& child) {
    if (child.inherited.empty()) return false;
    const ProcessImage* lender = tree::lender_of(child, images_);
    return !lender || lender->core.pid() == pid;
  });
}

void InheritedMemory::fill_lent(const ProcessImage& image, inject::NewProcess& process, Settled& settled) {
  const std::vector<bool>& lent = lent_.at(image.core.pid());
  mem::RestoreMemory memory = memory_of(image);
  memory.born_with = settled.born_with;
  memory.ready = lent;
  memory.ready.flip();
  const images::PageFile pages = content_.reader().pages(memory.pages_name);
  memory.pages = &pages;
  memory.pid = image.core.pid();
  memory.content = &content_;
  memory.threads = threads_;
  const std::vector<int> sent = send_files(image, process, memory);
  mem::map_for_children(process, memory);
  pages_filled_ += mem::fill(process, memory, 0, 0) + copy_rest(image.core.pid(), process, memory);
  mem::CallQueue calls(process.channel());
  for (const int fd : sent) {
    calls.make_room();
    calls.batch().add("close", SYS_close, {static_cast<uint64_t>(fd)});
  }
  calls.run();
  settled.filled = lent;
}

std::optional<uint64_t> InheritedMemory::vdso(int32_t pid) const {
  const auto settled = settled_.find(pid);
  return settled == settled_.end() ? std::nullopt : settled->second.vdso;
}

const std::vector<procfs::Mapping>& InheritedMemory::kernel_pages(int32_t pid) const {
  const auto settled = settled_.find(pid);
  return settled == settled_.end() ? kernel_pages_ : settled->second.kernel_pages;
}

void InheritedMemory::describe(int32_t pid, mem::RestoreMemory& memory) const {
  const auto settled = settled_.find(pid);
  if (settled == settled_.end()) return;
  memory.born_with = settled->second.born_with;
  memory.ready = settled->second.filled;
}

uint64_t InheritedMemory::copy_rest(int32_t pid, inject::NewProcess& process, const mem::RestoreMemory& memory) const {
  const ProcessImage& child = image(pid);
  const ProcessImage* lender = tree::lender_of(child, images_);
  uint64_t copied = 0;
  for (const InheritedPages& pages : child.inherited) {
    const size_t vma = index_of(child.vmas, pages.start());
    if (is_set(memory.born_with, vma) || is_set(memory.ready, vma)) continue;
    copied += copy(*lender, pages.start(), pages.start() + pages.bytes(), process);
  }
  if (copied != 0) log::info("mem", "process {}: {} pages of its parent's are copied", pid, copied);
  return copied;
}

uint64_t InheritedMemory::copy(const ProcessImage& from, uint64_t start, uint64_t end, inject::NewProcess& to) const {
  uint64_t copied = 0;
  constexpr uint64_t kMost = 1 << 20;
  const trace::RemoteMemory target(to.pid());
  std::vector<std::byte> buffer;
  for (const PageRun& run : from.runs) {
    const uint64_t first = std::max(start, run.start()), last = std::min(end, run.start() + run.bytes());
    if (run.shared() != 0 || first >= last) continue;
    for (uint64_t at = first; at < last; at += kMost) {
      buffer.resize(std::min(kMost, last - at));
      content_.read({from.core.pid(), from.map.pages_file()}, run, at, buffer);
      target.write(RemoteAddr(at), buffer);
    }
    copied += (last - first) / 4096;
  }
  for (const InheritedPages& inherited : from.inherited) {
    const uint64_t first = std::max(start, inherited.start()),
                   last = std::min(end, inherited.start() + inherited.bytes());
    if (first < last) copied += copy(*tree::lender_of(from, images_), first, last, to);
  }
  return copied;
}

}  // namespace mcr::engine
